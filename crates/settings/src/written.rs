//! `settings.toml`: reading it, however damaged, and writing it.

use toml::{Table, Value};

use crate::{Address, Fault, Hostname, MOST_NODES, MOST_SSH_KEYS, Problem, PublicKey, Settings, TimeZone};

const ONLINE: &str = "online";
const HOSTNAME: &str = "hostname";
const TIME_ZONE: &str = "time_zone";
const SSH_KEYS: &str = "ssh_keys";
const CLUSTER: &str = "cluster";
const JOIN: &str = "join";

impl Settings {
    /// Reads the file. A setting that cannot be used is told, and is as it was in `good`, the last
    /// settings without a fault; of a list only the bad entries are left out. Online mode alone is
    /// off then: nothing may leave the box on a guess.
    pub fn read(text: &str, good: &Self) -> (Self, Vec<Fault>) {
        let table: Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                let fault = Fault::new("settings.toml", Problem::Syntax(error.message().to_owned()));
                return (Self { online: false, ..good.clone() }, vec![fault]);
            }
        };
        let mut faults = Vec::new();
        let mut value = |field: &str, read: &mut dyn FnMut(&Value) -> Result<(), Problem>| {
            if let Some(value) = table.get(field)
                && let Err(problem) = read(value)
            {
                faults.push(Fault::new(field, problem));
            }
        };
        let mut settings = Self { join: good.join.clone(), ..Self::default() };
        value(ONLINE, &mut |value| {
            settings.online = value.as_bool().ok_or(Problem::Type("true or false"))?;
            Ok(())
        });
        value(HOSTNAME, &mut |value| {
            settings.hostname.clone_from(&good.hostname);
            settings.hostname = Some(Hostname::parse(text_of(value)?)?);
            Ok(())
        });
        value(TIME_ZONE, &mut |value| {
            settings.time_zone.clone_from(&good.time_zone);
            settings.time_zone = TimeZone::parse(text_of(value)?)?;
            Ok(())
        });
        if let Some(value) = table.get(SSH_KEYS) {
            let keys = list(value, SSH_KEYS, MOST_SSH_KEYS, &mut faults, |text| Ok(PublicKey::parse(text)?));
            settings.ssh_keys = keys.unwrap_or_else(|| good.ssh_keys.clone());
        }
        settings.join = match table.get(CLUSTER) {
            None => Vec::new(),
            Some(Value::Table(cluster)) => cluster.get(JOIN).map_or_else(Vec::new, |value| {
                let nodes =
                    list(value, "cluster.join", MOST_NODES, &mut faults, |text| Ok(Address::parse(text)?));
                nodes.unwrap_or_else(|| good.join.clone())
            }),
            Some(_) => {
                faults.push(Fault::new(CLUSTER, Problem::Type("a table")));
                good.join.clone()
            }
        };
        settings.table = table;
        (settings, faults)
    }

    /// The file to write. What this version does not know stays as it was read.
    pub fn to_toml(&self) -> String {
        let mut table = self.table.clone();
        table.insert(ONLINE.into(), self.online.into());
        if let Some(name) = &self.hostname {
            table.insert(HOSTNAME.into(), name.as_str().into());
        } else {
            table.remove(HOSTNAME);
        }
        table.insert(TIME_ZONE.into(), self.time_zone.as_str().into());
        let keys: Vec<Value> = self.ssh_keys.iter().map(|key| key.as_str().into()).collect();
        table.insert(SSH_KEYS.into(), keys.into());
        let nodes: Vec<Value> = self.join.iter().map(|node| node.as_str().into()).collect();
        match table.get_mut(CLUSTER) {
            Some(Value::Table(cluster)) => {
                cluster.insert(JOIN.into(), nodes.into());
            }
            _ if nodes.is_empty() => {
                table.remove(CLUSTER);
            }
            _ => {
                let cluster = Table::from_iter([(JOIN.to_owned(), Value::from(nodes))]);
                table.insert(CLUSTER.into(), cluster.into());
            }
        }
        table.to_string()
    }
}

fn text_of(value: &Value) -> Result<&str, Problem> {
    value.as_str().ok_or(Problem::Type("a text in quotes"))
}

/// The good entries of a list; `None` when it is no list. Of a list that is too long the first stay.
fn list<T>(
    value: &Value,
    field: &str,
    most: usize,
    faults: &mut Vec<Fault>,
    parse: impl Fn(&str) -> Result<T, Problem>,
) -> Option<Vec<T>> {
    let Value::Array(entries) = value else {
        faults.push(Fault::new(field, Problem::Type("a list")));
        return None;
    };
    if entries.len() > most {
        faults.push(Fault::new(field, Problem::TooMany(most)));
    }
    let mut good = Vec::new();
    for (index, entry) in entries.iter().take(most).enumerate() {
        match text_of(entry).and_then(&parse) {
            Ok(entry) => good.push(entry),
            Err(problem) => faults.push(Fault::new(format!("{field}[{index}]"), problem)),
        }
    }
    Some(good)
}
