//! What stands in braces in a server's command line.

use std::collections::BTreeMap;
use std::path::Path;

/// Why a text cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// A name in braces that means nothing here.
    #[error("{{{name}}} in {text:?} is no placeholder; there are {known}")]
    Unknown {
        /// What was in the braces.
        name: String,
        /// The whole text.
        text: String,
        /// What may be.
        known: String,
    },
    /// A brace that is never closed.
    #[error("{text:?} has a {{ without its }}")]
    Open {
        /// The whole text.
        text: String,
    },
    /// A variable that is not there and has no default.
    #[error("the environment has no {name}; set it, or write a default: ${{{name}:-VALUE}}")]
    NoVariable {
        /// Its name.
        name: String,
    },
}

/// What the placeholders of one server stand for:
///
/// - `{port}`: a free TCP port, whose UDP twin is free as well; `{stun-port}`: another one;
/// - `{dir}`: a folder of its own, empty at the first start and kept over restarts;
/// - `{cert}`, `{key}`: PEM files of a self-signed certificate for 127.0.0.1, ::1 and localhost;
/// - `{certdir}`: a folder with the same as `127.0.0.1.crt` and `127.0.0.1.key`, as derper's `-certdir` wants it;
/// - `{ferry-load}`: this program, whose null server stands for a floor;
/// - `${VARIABLE}` and `${VARIABLE:-default}`: of the environment of ferry-load.
#[derive(Debug, Clone, Default)]
pub struct Placeholders {
    values: BTreeMap<&'static str, String>,
}

/// The names, in the order that [`Placeholders::of`] takes their values.
const NAMES: [&str; 7] = ["port", "stun-port", "dir", "cert", "key", "certdir", "ferry-load"];

impl Placeholders {
    /// For a server that runs already: there are only variables.
    pub fn none() -> Self {
        Self::default()
    }

    /// Values that mean nothing, to see whether a text can be filled in.
    pub fn sample() -> Self {
        Self { values: NAMES.into_iter().map(|name| (name, "1".to_owned())).collect() }
    }

    /// For a server that is started on these ports with files in these places.
    pub(super) fn of(ports: [u16; 2], paths: [&Path; 5]) -> Self {
        let values = ports.map(|port| port.to_string()).into_iter();
        let values = values.chain(paths.map(|path| path.display().to_string()));
        Self { values: NAMES.into_iter().zip(values).collect() }
    }

    /// `text` with everything in braces filled in; `variable` looks into the environment.
    ///
    /// # Errors
    ///
    /// Names what cannot be filled in.
    pub fn fill(
        &self,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, PlaceholderError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        // Told last: a placeholder that is unknown is wrong in every environment.
        let mut missing = None;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                return Err(PlaceholderError::Open { text: text.to_owned() });
            };
            rest = behind;
            let Some(before) = before.strip_suffix('$') else {
                filled.push_str(before);
                filled.push_str(self.value(name, text)?);
                continue;
            };
            filled.push_str(before);
            let (name, default) = match name.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (name, None),
            };
            // As in a shell: `:-` also stands in for a variable that is empty.
            match (variable(name).filter(|value| default.is_none() || !value.is_empty()), default) {
                (Some(value), _) => filled.push_str(&value),
                (None, Some(default)) => filled.push_str(default),
                (None, None) => missing = missing.or(Some(name)),
            }
        }
        filled.push_str(rest);
        match missing {
            Some(name) => Err(PlaceholderError::NoVariable { name: name.to_owned() }),
            None => Ok(filled),
        }
    }

    fn value(&self, name: &str, text: &str) -> Result<&str, PlaceholderError> {
        self.values.get(name).map(String::as_str).ok_or_else(|| {
            let known = self.values.keys().map(|name| format!("{{{name}}}"));
            PlaceholderError::Unknown {
                name: name.to_owned(),
                text: text.to_owned(),
                known: known.chain(["${VARIABLE}".to_owned()]).collect::<Vec<_>>().join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn placeholders() -> Placeholders {
        let at = |name| Path::new("/srv").join(name);
        let paths = ["state", "a.crt", "a.key", "certs", "bin/ferry-load"].map(at);
        Placeholders::of([7001, 7002], paths.each_ref().map(PathBuf::as_path))
    }

    fn variable(name: &str) -> Option<String> {
        match name {
            "DERPER" => Some("/opt/derper".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn fill(text: &str) -> Result<String, PlaceholderError> {
        placeholders().fill(text, &variable)
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        assert_eq!(fill("127.0.0.1:{port} {stun-port}"), Ok("127.0.0.1:7001 7002".to_owned()));
        assert_eq!(
            fill("{dir}/k {cert} {key} {certdir} {ferry-load}"),
            Ok("/srv/state/k /srv/a.crt /srv/a.key /srv/certs /srv/bin/ferry-load".to_owned())
        );
    }

    #[test]
    fn variables_come_from_the_environment() {
        assert_eq!(fill("${DERPER} -a"), Ok("/opt/derper -a".to_owned()));
        assert_eq!(fill("$DERPER $"), Ok("$DERPER $".to_owned()));
    }

    #[test]
    fn a_default_stands_in_for_a_variable_that_is_missing_or_empty() {
        assert_eq!(fill("${NONE:-target/a}/b"), Ok("target/a/b".to_owned()));
        assert_eq!(fill("${EMPTY:-x}${EMPTY}"), Ok("x".to_owned()));
        assert_eq!(fill("${DERPER:-x}"), Ok("/opt/derper".to_owned()));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = fill("${NONE}/derper").expect_err("no such variable");
        assert_eq!(
            error.to_string(),
            "the environment has no NONE; set it, or write a default: ${NONE:-VALUE}"
        );
    }

    #[test]
    fn an_unknown_placeholder_is_refused_and_the_known_are_listed() {
        let error = fill("-a :{prot}").expect_err("a typing mistake").to_string();
        assert!(fill("${NONE}{prot}").is_err_and(|error| matches!(error, PlaceholderError::Unknown { .. })));
        assert!(
            error.starts_with("{prot} in \"-a :{prot}\" is no placeholder; there are {cert}, {certdir}"),
            "{error}"
        );
    }

    #[test]
    fn a_brace_has_to_be_closed() {
        assert_eq!(fill("a{port"), Err(PlaceholderError::Open { text: "a{port".to_owned() }));
    }

    #[test]
    fn a_server_that_runs_already_has_no_port_to_fill_in() {
        let error = Placeholders::none().fill("https://127.0.0.1:{port}", &variable).expect_err("no port");
        assert!(error.to_string().ends_with("there are ${VARIABLE}"), "{error}");
    }
}
