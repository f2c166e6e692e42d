//! Settings of a daemon: typed, in layers, with mistakes that name file, line and field.
//!
//! Every field of a configuration type has a default (`#[serde(default, deny_unknown_fields)]`),
//! so each layer can be checked by itself and a mistake is reported at its own line. Layers, the
//! later winning: vendor file, the daemon's table in `provisioned.toml`, the owner's file, the
//! owner's drop-ins in alphabetical order, environment variables.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use toml::{Table, Value};

use crate::paths::Paths;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file exists but cannot be read.
    #[error("cannot read {path}; check its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or variable holds something that is not a setting.
    #[error("{origin}: {message}")]
    Mistake {
        /// The file or variable.
        origin: String,
        /// Line, field and what is wrong.
        message: String,
    },
}

/// Loads the configuration of `daemon`.
///
/// `environment` yields the process's variables; those named `ACTIONBOOSTER_<DAEMON>__FIELD[__SUB]`
/// override single fields. Values are TOML; what does not parse as TOML is taken as a string.
pub fn load<C: DeserializeOwned>(
    daemon: &str,
    paths: &Paths,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let mut merged = Table::new();
    if let Some(layer) = layer::<C>(&paths.vendor().join(format!("config/{daemon}.toml")))? {
        merge(&mut merged, layer);
    }
    if let Some(layer) = provisioned::<C>(daemon, &paths.runtime().join("provisioned.toml"))? {
        merge(&mut merged, layer);
    }
    for path in owner_files(daemon, paths)? {
        if let Some(layer) = layer::<C>(&path)? {
            merge(&mut merged, layer);
        }
    }
    let mut variables: Vec<_> = environment.into_iter().collect();
    variables.sort();
    let prefix = format!("ACTIONBOOSTER_{}__", daemon.to_ascii_uppercase().replace('-', "_"));
    for (name, value) in variables {
        let Some(field) = name.strip_prefix(&prefix) else { continue };
        let text = toml::to_string(&from_variable(field, &value)).unwrap_or_default();
        merge(&mut merged, check::<C>(&format!("environment variable {name}"), &text)?);
    }
    Value::Table(merged).try_into().map_err(|error: toml::de::Error| ConfigError::Mistake {
        origin: format!("the settings of {daemon} taken together"),
        message: error.message().to_owned(),
    })
}

fn owner_files(daemon: &str, paths: &Paths) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = vec![paths.owner().join(format!("{daemon}.toml"))];
    let folder = paths.owner().join(format!("{daemon}.d"));
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(ConfigError::Read { path: folder, source }),
    };
    let mut drop_ins: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    drop_ins.sort();
    files.extend(drop_ins);
    Ok(files)
}

fn layer<C: DeserializeOwned>(path: &Path) -> Result<Option<Table>, ConfigError> {
    read(path)?.map(|text| check::<C>(&path.display().to_string(), &text)).transpose()
}

/// The daemon's own table of the file that the provisioner writes for everybody.
fn provisioned<C: DeserializeOwned>(daemon: &str, path: &Path) -> Result<Option<Table>, ConfigError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let origin = path.display().to_string();
    let mut whole = parse(&origin, &text)?;
    // Read from the whole file, so that a mistake is told with the file's own line.
    toml::Deserializer::parse(&text)
        .and_then(|reader| OneTable::<C> { name: daemon, kind: PhantomData }.deserialize(reader))
        .map_err(|error| mistake(&origin, &error))?;
    Ok(match whole.remove(daemon) {
        Some(Value::Table(table)) => Some(table),
        _ => None,
    })
}

/// Checks that the table called `name`, if there is one, is a `C`; looks at no other.
struct OneTable<'a, C> {
    name: &'a str,
    kind: PhantomData<C>,
}

impl<'de, C: DeserializeOwned> DeserializeSeed<'de> for OneTable<'_, C> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, C: DeserializeOwned> Visitor<'de> for OneTable<'_, C> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("tables, one for each program")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut tables: M) -> Result<(), M::Error> {
        while let Some(name) = tables.next_key::<String>()? {
            if name == self.name {
                tables.next_value::<C>()?;
            } else {
                tables.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { path: path.to_path_buf(), source }),
    }
}

/// Parses one layer and makes sure that it alone is a valid configuration.
fn check<C: DeserializeOwned>(origin: &str, text: &str) -> Result<Table, ConfigError> {
    let table = parse(origin, text)?;
    toml::from_str::<C>(text).map_err(|error| mistake(origin, &error))?;
    Ok(table)
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| mistake(origin, &error))
}

fn mistake(origin: &str, error: &toml::de::Error) -> ConfigError {
    // The Display of toml's error shows line, column and the line itself.
    let mut message = error.to_string().trim_end().to_owned();
    if let Some(meant) = suggestion(error.message()) {
        message.push_str("\ndid you mean `");
        message.push_str(meant);
        message.push_str("`?");
    }
    ConfigError::Mistake { origin: origin.to_owned(), message }
}

/// The field that comes closest to an unknown one. Serde tells names only within its message:
/// "unknown field `a`, expected one of `b`, `c`", and likewise for the variants of an enum.
fn suggestion(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let given = names.next()?;
    names
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// Lays `upper` over `lower`; tables are merged, everything else is replaced.
fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// `QUERY__MODELS` with `["a"]` is `query.models = ["a"]`.
fn from_variable(field: &str, value: &str) -> Table {
    let parsed = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let names: Vec<String> = field.split("__").map(str::to_ascii_lowercase).collect();
    let nested =
        names.into_iter().rev().fold(parsed, |inner, name| Value::Table(Table::from_iter([(name, inner)])));
    match nested {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        port: u16,
        name: String,
        query: Query,
    }

    #[derive(serde::Deserialize, Debug, PartialEq, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Query {
        models: Vec<String>,
        limit: u32,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { port: 1, name: "default".into(), query: Query::default() }
        }
    }

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, text).expect("file");
    }

    #[test]
    fn later_layers_win_and_tables_are_merged() {
        let root = tempfile::tempdir().expect("folder");
        write(root.path(), "usr/share/actionbooster/config/agent.toml", "port = 2\n[query]\nlimit = 5\n");
        write(root.path(), "run/actionbooster/provisioned.toml", "[agent]\nport = 3\n[monitor]\nother = 1\n");
        write(root.path(), "etc/actionbooster/agent.toml", "name = \"owner\"\n");
        write(root.path(), "etc/actionbooster/agent.d/10.toml", "name = \"ten\"\n");
        write(root.path(), "etc/actionbooster/agent.d/20.toml", "[query]\nmodels = [\"a\"]\n");
        let environment = [
            ("ACTIONBOOSTER_AGENT__QUERY__LIMIT".to_owned(), "9".to_owned()),
            ("ACTIONBOOSTER_MONITOR__PORT".to_owned(), "77".to_owned()),
        ];
        let sample: Sample = load("agent", &Paths::below(root.path()), environment).expect("loads");
        let query = Query { models: vec!["a".into()], limit: 9 };
        assert_eq!(sample, Sample { port: 3, name: "ten".into(), query });
    }

    #[test]
    fn mistakes_name_file_line_and_field() {
        let cases = [
            ("port = 1\nprot = 2\n", ["line 2", "prot"]),
            ("port = \"x\"\n", ["line 1", "port"]),
            ("port = 99999\n", ["line 1", "99999"]),
            ("[query]\nlimit = \n", ["line 2", "limit"]),
            ("\n\n[query]\nmodel = []\n", ["line 4", "did you mean `models`?"]),
        ];
        for (text, wanted) in cases {
            let root = tempfile::tempdir().expect("folder");
            write(root.path(), "etc/actionbooster/agent.toml", text);
            let error =
                load::<Sample>("agent", &Paths::below(root.path()), []).expect_err("refused").to_string();
            assert!(error.contains("etc/actionbooster/agent.toml"), "{error}");
            for part in wanted {
                assert!(error.contains(part), "{part} is not in: {error}");
            }
        }
    }

    #[test]
    fn a_mistake_of_the_provisioner_is_told_with_the_line_of_its_file() {
        let root = tempfile::tempdir().expect("folder");
        let text = "[monitor]\nanything = 1\n\n[agent]\nport = 1\nnaem = \"x\"\n";
        write(root.path(), "run/actionbooster/provisioned.toml", text);
        let error = load::<Sample>("agent", &Paths::below(root.path()), []).expect_err("refused").to_string();
        for part in ["provisioned.toml", "line 6", "naem", "did you mean `name`?"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        load::<Sample>("worker", &Paths::below(root.path()), []).expect("another's table does not matter");
    }

    #[test]
    fn a_mistake_in_the_environment_names_the_variable() {
        let root = tempfile::tempdir().expect("folder");
        let environment = [("ACTIONBOOSTER_AGENT__PROT".to_owned(), "1".to_owned())];
        let error = load::<Sample>("agent", &Paths::below(root.path()), environment).expect_err("refused");
        assert!(error.to_string().contains("ACTIONBOOSTER_AGENT__PROT"), "{error}");
    }

    #[test]
    fn only_a_close_name_is_suggested() {
        let cases = [
            ("unknown field `prot`, expected one of `port`, `name`", Some("port")),
            ("unknown field `session_day`, expected `session_days`", Some("session_days")),
            ("unknown variant `Fast`, expected `fast` or `slow`", Some("fast")),
            ("unknown field `colour`, expected one of `port`, `name`", None),
            ("invalid type: string \"port\", expected u16 for `port`", None),
        ];
        for (message, expected) in cases {
            assert_eq!(suggestion(message), expected, "{message}");
        }
    }
}
