//! The names under which agents are reached: `[A-Za-z0-9._-]{1,64}`, unique on a server.

use std::collections::HashSet;

const LONGEST: usize = 64;

/// Makes a name for each of `wanted`, in their order. What a name may not hold becomes `-`; a name that is taken, by `own` or by one before it, gets
/// `-2`, `-3`, ..
#[must_use]
pub fn unique_names<'a>(own: &[String], wanted: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken: HashSet<String> = own.iter().cloned().collect();
    wanted
        .into_iter()
        .map(|name| {
            let plain = fit(name);
            let numbered = (2_usize..).map(|n| with_number(&plain, n));
            let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
            taken.insert(name.clone());
            name
        })
        .collect()
}

/// Whether a name is fit for an address as it is.
#[must_use]
pub fn is_fit(name: &str) -> bool {
    !name.is_empty() && fit(name) == name
}

fn fit(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = name.trim().chars().map(letter).take(LONGEST).collect();
    // `.` and `..` mean something else in an address.
    if name.trim_matches('.').is_empty() { "agent".to_owned() } else { name }
}

fn with_number(name: &str, n: usize) -> String {
    let end = format!("-{n}");
    format!("{}{end}", &name[..name.len().min(LONGEST - end.len())])
}

#[cfg(test)]
mod tests {
    use super::unique_names;

    #[test]
    fn names_are_fit_for_an_address_and_told_apart() {
        let own = ["Monitor-A".to_owned()];
        let names = unique_names(&own, ["laptop", "Jo's laptop", "laptop", "Monitor-A", "", "..", "ä/b"]);
        assert_eq!(names, ["laptop", "Jo-s-laptop", "laptop-2", "Monitor-A-2", "agent", "agent-2", "--b"]);
    }

    #[test]
    fn a_long_name_is_cut_also_with_its_number() {
        let long = "x".repeat(200);
        let names = unique_names(&[], [long.as_str(), long.as_str()]);
        assert_eq!(names[0].len(), 64);
        assert!(names[1].len() == 64 && names[1].ends_with("x-2"), "{}", names[1]);
    }
}
