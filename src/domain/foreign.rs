//! The card of an agent that is not this server's: what of it must be right before it is believed, and how the agent is spoken to.

use muster_protocol::client::a2a::Dialect;
use muster_protocol::client::http::is_loopback;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

const LONGEST_NAME: usize = 200;
const LONGEST_TEXT: usize = 16_384;
const MOST_SKILLS: usize = 200;
const MOST_INTERFACES: usize = 50;
/// What is spoken here, in words.
const SPOKEN: &str = "JSONRPC 1.0, HTTP+JSON 1.0 and JSONRPC 0.3";

/// What is used of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignCard {
    /// The agent's own name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Where it is reached.
    pub url: Url,
    /// How.
    pub dialect: Dialect,
    /// What is to be sent along.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Whether it streams.
    pub streaming: bool,
    /// Whether it wants a credential.
    pub wants_credential: bool,
    /// What it can do.
    pub skills: Vec<ForeignSkill>,
}

/// Something that it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignSkill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What a card says of its agent, whatever its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSelf {
    /// The agent's own name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its version.
    pub version: String,
    /// What it can do.
    pub skills: Vec<ForeignSkill>,
}

/// Reads what a card says of its agent.
///
/// # Errors
/// Everything that is wrong with it, a sentence each.
pub fn read_self(card: &Value) -> Result<ForeignSelf, Vec<String>> {
    let mut wrong = Vec::new();
    let name = text(card, "name", LONGEST_NAME, &mut wrong);
    let description = text(card, "description", LONGEST_TEXT, &mut wrong);
    let version = text(card, "version", LONGEST_NAME, &mut wrong);
    if !card["capabilities"].is_object() {
        wrong.push("`capabilities` must be an object".to_owned());
    }
    for modes in ["defaultInputModes", "defaultOutputModes"] {
        if !card[modes].as_array().is_some_and(|modes| modes.iter().all(Value::is_string)) {
            wrong.push(format!("`{modes}` must be a list of media types"));
        }
    }
    let skills = skills(card, &mut wrong);
    if wrong.is_empty() { Ok(ForeignSelf { name, description, version, skills }) } else { Err(wrong) }
}

/// Reads a card that was found at `at`. `other_host` is whether the agent may be at another place than its card.
///
/// # Errors
/// Everything that is wrong with it, a sentence each.
pub fn read(card: &Value, at: &Url, other_host: bool) -> Result<ForeignCard, Vec<String>> {
    let (said, mut wrong) = match read_self(card) {
        Ok(said) => (Some(said), Vec::new()),
        Err(wrong) => (None, wrong),
    };
    let extensions = card["capabilities"]["extensions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for extension in extensions.iter().filter(|extension| extension["required"] == true) {
        let uri = shown(extension["uri"].as_str().unwrap_or("without a name"));
        wrong.push(format!("it demands the extension {uri} of its clients, which is not spoken here"));
    }
    let reached = reached(card, at, other_host).map_err(|reason| wrong.push(reason)).ok();
    let (Some(ForeignSelf { name, description, version, skills }), Some((url, dialect, tenant)), true) = (said, reached, wrong.is_empty())
    else {
        return Err(wrong);
    };
    let wants = |field: &str| card[field].as_array().is_some_and(|all| !all.is_empty());
    let streaming = card["capabilities"]["streaming"] == true;
    let wants_credential = wants("securityRequirements") || wants("security");
    Ok(ForeignCard { name, description, version, url, dialect, tenant, streaming, wants_credential, skills })
}

/// Whether a card says that its agent has an extended one: in the words of 1.0 or of 0.3.
#[must_use]
pub fn has_extended(card: &Value) -> bool {
    card["capabilities"]["extendedAgentCard"] == true || card["supportsAuthenticatedExtendedCard"] == true
}

/// Whether a card that was read again is still that of the same agent; if not, what of it is another.
///
/// # Errors
/// What changed.
pub fn is_same(known: &ForeignCard, now: &ForeignCard) -> Result<(), String> {
    if known.name != now.name {
        return Err(format!("its card is now that of `{}`, and was that of `{}`", now.name, known.name));
    }
    if known.url.origin() != now.url.origin() {
        return Err(format!("its card now names the address {}, and named {}", now.url, known.url));
    }
    Ok(())
}

fn text(card: &Value, field: &str, longest: usize, wrong: &mut Vec<String>) -> String {
    match card[field].as_str() {
        Some(text) if text.trim().is_empty() => wrong.push(format!("`{field}` is empty")),
        Some(text) if text.len() > longest => wrong.push(format!("`{field}` is longer than {longest} bytes")),
        Some(text) if text.contains('\0') => wrong.push(format!("`{field}` contains U+0000")),
        Some(text) => return text.trim().to_owned(),
        None => wrong.push(format!("`{field}` is missing, or is no text")),
    }
    String::new()
}

fn skills(card: &Value, wrong: &mut Vec<String>) -> Vec<ForeignSkill> {
    let Some(all) = card["skills"].as_array() else {
        wrong.push("`skills` must be a list".to_owned());
        return Vec::new();
    };
    if all.len() > MOST_SKILLS {
        wrong.push(format!("`skills` has {} entries; {MOST_SKILLS} are the most", all.len()));
        return Vec::new();
    }
    let mut read = Vec::new();
    for (n, skill) in all.iter().enumerate() {
        match serde_json::from_value::<ForeignSkill>(skill.clone()) {
            Ok(skill) if [&skill.id, &skill.name].iter().any(|text| text.is_empty() || text.len() > LONGEST_NAME) => {
                wrong.push(format!("`skills[{n}]` must have an `id` and a `name` of at most {LONGEST_NAME} bytes"));
            }
            Ok(skill) if skill.description.len() > LONGEST_TEXT => wrong.push(format!("`skills[{n}].description` is too long")),
            Ok(skill) => read.push(skill),
            Err(e) => wrong.push(format!("`skills[{n}]` cannot be read: {e}")),
        }
    }
    read
}

/// What a card offers: address, binding, version, tenant.
type Offer<'a> = (&'a str, &'a str, &'a str, Option<&'a str>);

/// The best address at which something is spoken that is spoken here: 1.0 before 0.3, else in the card's order.
fn reached(card: &Value, at: &Url, other_host: bool) -> Result<(Url, Dialect, Option<String>), String> {
    let offers = offers(card);
    if offers.is_empty() {
        return Err("it names no address: `supportedInterfaces` (1.0) or `url` (0.3) is missing".to_owned());
    }
    let spoken = |dialect: Dialect| offers.iter().find(|offer| dialect_of(offer) == Some(dialect)).map(|offer| (offer, dialect));
    let first_of_1 = offers.iter().find_map(|offer| Some((offer, dialect_of(offer).filter(|dialect| *dialect != Dialect::OldRpc)?)));
    let Some((offer, dialect)) = first_of_1.or_else(|| spoken(Dialect::OldRpc)) else {
        let all: Vec<_> = offers.iter().map(|(url, binding, version, _)| shown(&format!("{binding} {version} at {url}"))).collect();
        return Err(format!("it offers {}; spoken here are {SPOKEN}", all.join(", ")));
    };
    let address = shown(offer.0);
    let url = Url::parse(offer.0).map_err(|e| format!("its address `{address}` is no URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("its address `{address}` is neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its address holds a credential".to_owned());
    }
    if !other_host && !is_same_place(&url, at) {
        let (there, here) = (url.origin().ascii_serialization(), at.origin().ascii_serialization());
        return Err(format!(
            "it sends its callers to another place ({there}) than the one that it is at ({here}); say `other_host` if that is meant"
        ));
    }
    Ok((url, dialect, offer.3.filter(|tenant| !tenant.is_empty()).map(str::to_owned)))
}

fn offers(card: &Value) -> Vec<Offer<'_>> {
    let list = |field: &str| card[field].as_array().map(Vec::as_slice).unwrap_or_default().iter().take(MOST_INTERFACES);
    let of_1 = list("supportedInterfaces").filter_map(|offer| {
        Some((offer["url"].as_str()?, offer["protocolBinding"].as_str()?, offer["protocolVersion"].as_str()?, offer["tenant"].as_str()))
    });
    let mut offers: Vec<Offer<'_>> = of_1.collect();
    let version = card["protocolVersion"].as_str().unwrap_or("0.3");
    if let Some(url) = card["url"].as_str() {
        offers.push((url, card["preferredTransport"].as_str().unwrap_or("JSONRPC"), version, None));
    }
    let more = list("additionalInterfaces").filter_map(|offer| Some((offer["url"].as_str()?, offer["transport"].as_str()?, version, None)));
    offers.extend(more);
    offers
}

fn dialect_of((_, binding, version, _): &Offer<'_>) -> Option<Dialect> {
    let is = |wanted: &str| *version == wanted || version.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
    match *binding {
        "JSONRPC" if is("1.0") || *version == "1" => Some(Dialect::Rpc),
        "HTTP+JSON" if is("1.0") || *version == "1" => Some(Dialect::Rest),
        "JSONRPC" if is("0.3") => Some(Dialect::OldRpc),
        _ => None,
    }
}

/// Whether two addresses are one place: scheme, host and port. All names of this machine are one host.
fn is_same_place(one: &Url, other: &Url) -> bool {
    let same_host = one.host() == other.host() || (is_loopback(one) && is_loopback(other));
    same_host && one.scheme() == other.scheme() && one.port_or_known_default() == other.port_or_known_default()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::{Dialect, is_same, read};
    use serde_json::{Value, json};
    use url::Url;

    fn card() -> Value {
        json!({
            "name": "Planner", "description": "Plans", "version": "1", "capabilities": { "streaming": true },
            "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
            "skills": [{ "id": "plan", "name": "Plan", "description": "d", "tags": [] }],
            "supportedInterfaces": [
                { "url": "http://10.0.0.7/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0" },
                { "url": "http://10.0.0.7/old", "protocolBinding": "JSONRPC", "protocolVersion": "0.3" },
                { "url": "http://10.0.0.7/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0", "tenant": "t" }
            ]
        })
    }

    fn at() -> Url {
        Url::parse("http://10.0.0.7/.well-known/agent-card.json").unwrap()
    }

    fn fault(change: impl FnOnce(&mut Value)) -> String {
        let mut card = card();
        change(&mut card);
        read(&card, &at(), false).unwrap_err().join("; ")
    }

    #[test]
    fn the_newest_version_that_is_spoken_here_is_chosen() {
        let read_card = read(&card(), &at(), false).unwrap();
        assert_eq!((read_card.url.path(), read_card.dialect, read_card.tenant.as_deref()), ("/rest", Dialect::Rest, Some("t")));
        let mut old = card();
        old.as_object_mut().unwrap().remove("supportedInterfaces");
        old["url"] = json!("http://10.0.0.7/a2a");
        old["protocolVersion"] = json!("0.3.0");
        let old = read(&old, &at(), false).unwrap();
        assert_eq!((old.url.path(), old.dialect), ("/a2a", Dialect::OldRpc));
    }

    #[test]
    fn every_lie_is_named() {
        assert!(fault(|card| card["name"] = json!(" ")).contains("`name` is empty"));
        assert!(fault(|card| card["version"] = json!(7)).contains("`version` is missing, or is no text"));
        assert!(fault(|card| card["description"] = json!("x".repeat(20_000))).contains("longer than"));
        assert!(fault(|card| card["capabilities"] = Value::Null).contains("`capabilities`"));
        assert!(fault(|card| card["defaultInputModes"] = json!([1])).contains("`defaultInputModes`"));
        assert!(fault(|card| card["skills"] = json!([{ "id": "x" }])).contains("`skills[0]`"));
        assert!(fault(|card| card["skills"] = json!(vec![json!({ "id": "x", "name": "x" }); 201])).contains("201 entries"));
        assert!(fault(|card| card["supportedInterfaces"] = json!([])).contains("names no address"));

        let only_grpc = json!([{ "url": "http://10.0.0.7", "protocolBinding": "GRPC", "protocolVersion": "1.0" }]);
        assert!(fault(|card| card["supportedInterfaces"] = only_grpc).contains("it offers GRPC 1.0 at http://10.0.0.7"));
        assert!(fault(|card| card["supportedInterfaces"][2]["url"] = json!("ftp://10.0.0.7")).contains("neither http"));
        assert!(fault(|card| card["supportedInterfaces"][2]["url"] = json!("nonsense")).contains("is no URL"));
        assert!(fault(|card| card["supportedInterfaces"][2]["url"] = json!("http://u:p@10.0.0.7")).contains("credential"));
        assert!(fault(|card| card["supportedInterfaces"][2]["url"] = json!("http://10.0.0.8")).contains("another place (http://10.0.0.8)"));
        assert!(
            fault(|card| card["supportedInterfaces"][2]["url"] = json!("http://10.0.0.7:81"))
                .contains("another place (http://10.0.0.7:81)")
        );
        assert!(
            fault(|card| card["supportedInterfaces"][2]["url"] = json!("https://10.0.0.7")).contains("another place (https://10.0.0.7)")
        );
        let demanded = json!([{ "uri": "urn:x", "required": true }]);
        assert!(fault(|card| card["capabilities"]["extensions"] = demanded).contains("extension urn:x"));
    }

    #[test]
    fn an_agent_is_where_its_card_is_unless_another_place_is_meant() {
        let is_read = |url: &str, at: &str, other| {
            let mut card = card();
            card["supportedInterfaces"] = json!([{ "url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0" }]);
            read(&card, &Url::parse(at).unwrap(), other).is_ok()
        };
        assert!(is_read("https://h/a2a", "https://h:443/card.json", false));
        assert!(is_read("http://localhost:9/a2a", "http://[::1]:9/card.json", false));
        for (url, at) in
            [("http://h:1/", "http://h:2/card.json"), ("http://h:443/", "https://h/card.json"), ("http://h/", "http://i/card.json")]
        {
            assert!(!is_read(url, at, false) && is_read(url, at, true), "{url} {at}");
        }
    }

    #[test]
    fn another_name_or_another_place_is_another_agent() {
        let known = read(&card(), &at(), false).unwrap();
        let mut newer = card();
        newer["version"] = json!("2");
        assert_eq!(is_same(&known, &read(&newer, &at(), false).unwrap()), Ok(()));
        newer["name"] = json!("Other");
        assert!(is_same(&known, &read(&newer, &at(), false).unwrap()).unwrap_err().contains("that of `Other`"));
        let mut moved = card();
        moved["supportedInterfaces"][2]["url"] = json!("http://10.0.0.7:99/rest");
        assert!(is_same(&known, &read(&moved, &at(), true).unwrap()).unwrap_err().contains(":99"));
    }
}
