//! Who asks, and what they may.
//!
//! A request is either *local* (see [`local`]: the rule of a server that only this machine can reach) or carries a token.
//! Every route names its [`Access`]; the router layers [`guard::check`] in front of it, which puts the [`Principal`] into the
//! request. A handler that asks for a [`Principal`] on a route without a guard is refused.

mod access;
pub mod guard;
pub mod local;
mod principal;
mod secret;

pub use access::Access;
pub use principal::{LOCAL, Principal};
pub(crate) use secret::without_tokens;
pub use secret::{Secret, TokenHash};
