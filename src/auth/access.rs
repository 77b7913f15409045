//! What a route demands of its callers.

use muster_protocol::token::Scope;

/// Who may call a route: anybody, or the holders of some scopes. An admin may call everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    public: bool,
    scopes: u8,
}

impl Access {
    /// Anybody, without a credential.
    pub const PUBLIC: Self = Self { public: true, scopes: u8::MAX };
    /// Admins only.
    pub const ADMIN: Self = Self::of(Scope::Admin);
    /// Operators.
    pub const OPERATOR: Self = Self::of(Scope::Operator);
    /// Viewers, and operators: who may change things may see them.
    pub const VIEWER: Self = Self::of(Scope::Viewer).or(Self::OPERATOR);
    /// Workers.
    pub const WORKER: Self = Self::of(Scope::Worker);
    /// Peers.
    pub const PEER: Self = Self::of(Scope::Peer);
    /// Callers of A2A, and operators.
    pub const AGENT: Self = Self::of(Scope::Agent).or(Self::OPERATOR);

    const fn of(scope: Scope) -> Self {
        Self { public: false, scopes: bit(scope) | bit(Scope::Admin) }
    }

    /// Also those of `other`.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { public: self.public || other.public, scopes: self.scopes | other.scopes }
    }

    /// Whether no credential is needed.
    #[must_use]
    pub const fn is_public(self) -> bool {
        self.public
    }

    /// Whether a holder of `scope` may call.
    #[must_use]
    pub const fn allows(self, scope: Scope) -> bool {
        self.scopes & bit(scope) != 0
    }

    /// The scopes in words, for a refusal and for the documentation.
    #[must_use]
    pub fn words(self) -> String {
        let words: Vec<_> = Scope::ALL.into_iter().filter(|scope| self.allows(*scope)).map(Scope::as_str).collect();
        words.join(" or ")
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_call_everything_and_an_operator_what_a_viewer_may() {
        for access in [Access::ADMIN, Access::OPERATOR, Access::VIEWER, Access::WORKER, Access::PEER, Access::AGENT, Access::PUBLIC] {
            assert!(access.allows(Scope::Admin));
        }
        assert!(Access::VIEWER.allows(Scope::Operator) && !Access::OPERATOR.allows(Scope::Viewer));
    }

    #[test]
    fn what_is_not_named_is_denied() {
        for scope in [Scope::Operator, Scope::Viewer, Scope::Worker, Scope::Peer, Scope::Agent] {
            assert!(!Access::ADMIN.allows(scope));
        }
        assert!(!Access::VIEWER.allows(Scope::Worker));
        assert!(Access::VIEWER.or(Access::WORKER).allows(Scope::Worker));
        assert_eq!(Access::VIEWER.or(Access::WORKER).words(), "admin or operator or viewer or worker");
    }
}
