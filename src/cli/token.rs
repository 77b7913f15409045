//! `muster token`: makes, lists and revokes tokens.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::ago;
use super::session::{Session, now};
use super::style::Style;
use super::table::{Table, dim, plain, state};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use muster_protocol::time::Timestamp;
use muster_protocol::token::{CreateToken, Scope, Token};

/// Options of `muster token`.
#[derive(Debug, Args)]
pub(crate) struct Tokens {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token; its secret is printed on standard output, this once
    Create(Create),
    /// List the tokens, without their secrets
    List,
    /// Revoke a token
    Revoke {
        /// The token's id
        #[arg(value_name = "TOKEN-ID")]
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What it allows
    #[arg(long, value_parser = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)))]
    scope: String,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// How long it is good for: 90s, 45m, 12h, 30d, 4w; for ever if absent
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<u64>,
    /// With the scope worker: the id of the only worker that may use it
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
}

/// Seconds of a number with a unit.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err("it should be a number with a unit, such as 90s, 45m, 12h, 30d or 4w".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "the number is missing or too large".to_owned())?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(|| "it should be longer than nothing and end some day".to_owned())
}

pub(crate) async fn run(args: Tokens, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match args.action {
        Action::Create(args) => create(args, session).await,
        Action::List => session.show("v1/tokens", &[], |tokens: Vec<Token>, console| render(&tokens, console, now())).await,
        Action::Revoke { id } => {
            let answer = session.client.revoke_token(&id).await?;
            if session.json {
                session.print_json(&answer)?;
            } else {
                session.console.line(&format!("revoked {id}"))?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn create(args: Create, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let scope = Scope::from_word(&args.scope).ok_or_else(|| Failure::Usage(format!("there is no scope `{}`", args.scope)))?;
    let request = CreateToken { scope, name: args.name, ttl_s: args.ttl, worker_id: args.worker.as_deref().map(Into::into) };
    let created = session.client.create_token(&request).await?;
    if session.json {
        session.print_json(&created)?;
        return Ok(Exit::Done);
    }
    session.console.line(&created.secret)?;
    let token = created.token;
    let end = token.expires_at.map_or(String::new(), |at| format!(", ends {}", ago(at, now())));
    session
        .console
        .note(Style::Dim, &format!("token {} with the scope {}{end}; the secret is not shown again", token.id, token.scope.as_str()));
    Ok(Exit::Done)
}

fn render(tokens: &[Token], console: &Console, now: Timestamp) -> String {
    if tokens.is_empty() {
        return "There is no token. Make one with: muster token create --scope SCOPE".to_owned();
    }
    let mut table = Table::new(&["ID", "SCOPE", "STATE", "MADE", "ENDS", "~NAME"]);
    for token in tokens {
        let is_over = token.expires_at.is_some_and(|end| end <= now);
        let word = match token.revoked_at {
            Some(_) => "revoked",
            None if is_over => "expired",
            None => "active",
        };
        let end = token.expires_at.map_or("never".to_owned(), |at| ago(at, now));
        table.row([
            plain(token.id.to_string()),
            plain(token.scope.as_str()),
            state(word),
            dim(ago(token.created_at, now)),
            dim(end),
            plain(&token.name),
        ]);
    }
    table.render(&console.out)
}

#[cfg(test)]
mod tests {
    use super::{render, seconds};
    use crate::cli::console::{Channel, Console};
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use std::io::sink;

    #[test]
    fn a_time_to_live_is_a_number_with_a_unit() {
        assert_eq!((seconds("90s"), seconds("30d"), seconds("4w")), (Ok(90), Ok(2_592_000), Ok(2_419_200)));
        for wrong in ["", "30", "d", "-1d", "0s", "1y", "99999999999999999999d", "9999999999999999999w"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_show_whether_they_still_open_anything() {
        let at = |ms: i64| Timestamp(1_700_000_000_000 + ms);
        let token = |n: u8, more: serde_json::Value| {
            let mut data =
                json!({"id": format!("0199aaaa-0001-7000-8000-00000000000{n}"), "name": "ci", "scope": "operator", "created_at": at(0)});
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(data).unwrap()
        };
        let tokens = [
            token(1, json!({})),
            token(2, json!({"expires_at": at(60_000)})),
            token(3, json!({"revoked_at": at(1), "expires_at": at(900_000)})),
        ];
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        insta::assert_snapshot!(render(&tokens, &console, at(120_000)), @r"
        ID                                    SCOPE     STATE    MADE       ENDS       NAME
        0199aaaa-0001-7000-8000-000000000001  operator  active   2 min ago  never      ci
        0199aaaa-0001-7000-8000-000000000002  operator  expired  2 min ago  1 min ago  ci
        0199aaaa-0001-7000-8000-000000000003  operator  revoked  2 min ago  in 13 min  ci
        ");
    }
}
