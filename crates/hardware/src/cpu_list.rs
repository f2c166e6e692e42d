//! Sets of processors, written as the kernel does: `0-3,6`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;

/// The largest `NR_CPUS` of any distribution.
pub(crate) const MOST_CPUS: u32 = 8192;

/// A set of processors.
///
/// `"0-2,5".parse()` is 0, 1, 2 and 5; an empty text is no processor, which settings take for all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CpuList(Vec<u32>);

/// A part of a text that is neither a processor nor a range of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a processor nor a range such as 4-7")]
pub struct NotCpus(String);

impl CpuList {
    /// These processors, in any order.
    pub fn new(cpus: impl IntoIterator<Item = u32>) -> Self {
        let mut cpus: Vec<u32> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }

    /// The processors of a text from the kernel; what is no range is left out.
    pub(crate) fn lenient(text: &str) -> Self {
        Self::new(text.split(',').filter_map(range).flatten())
    }

    /// Their numbers, from the lowest on.
    pub fn cpus(&self) -> &[u32] {
        &self.0
    }

    /// The same, for functions that number processors by their own size.
    pub fn numbers(&self) -> Vec<usize> {
        self.0.iter().map(|cpu| *cpu as usize).collect()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for CpuList {
    type Err = NotCpus;

    fn from_str(text: &str) -> Result<Self, NotCpus> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let ranges = parts.map(|part| range(part).ok_or_else(|| NotCpus(part.to_owned())));
        Ok(Self::new(ranges.collect::<Result<Vec<_>, _>>()?.into_iter().flatten()))
    }
}

impl TryFrom<String> for CpuList {
    type Error = NotCpus;

    fn try_from(text: String) -> Result<Self, NotCpus> {
        text.parse()
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        while let [first, ..] = *rest {
            let length = rest.iter().zip(first..).take_while(|(cpu, expected)| **cpu == *expected).count();
            let (together, after) = rest.split_at(length);
            match together {
                [_, .., last] => write!(out, "{first}-{last}")?,
                _ => write!(out, "{first}")?,
            }
            if !after.is_empty() {
                out.write_str(",")?;
            }
            rest = after;
        }
        Ok(())
    }
}

/// `4-7` or `4`.
fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && last < MOST_CPUS).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_people_are_ranges_and_numbers_or_a_mistake() {
        let cases: [(&str, Option<&[u32]>); 10] = [
            ("", Some(&[])),
            ("3", Some(&[3])),
            ("4-6", Some(&[4, 5, 6])),
            ("0, 2-3", Some(&[0, 2, 3])),
            ("2,1,1-2", Some(&[1, 2])),
            ("3-1", None),
            ("x", None),
            ("-1", None),
            ("0-8192", None),
            ("0-99999999999", None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<CpuList>();
            assert_eq!(read.as_ref().ok().map(CpuList::cpus), expected, "{text:?}");
        }
        let error = "0-3, four".parse::<CpuList>().expect_err("no number").to_string();
        assert!(error.starts_with("\"four\" is neither"), "{error}");
    }

    #[test]
    fn texts_of_the_kernel_are_bounded_and_never_a_mistake() {
        let cases: [(&str, &[u32]); 6] = [
            ("0", &[0]),
            ("0-3,6", &[0, 1, 2, 3, 6]),
            ("2,1,1", &[1, 2]),
            ("3-1", &[]),
            ("x,-,1-y,5", &[5]),
            ("8190-4294967295,8191", &[8191]),
        ];
        for (text, expected) in cases {
            assert_eq!(CpuList::lenient(text).cpus(), expected, "{text}");
        }
    }

    #[test]
    fn sets_are_written_as_the_kernel_does_and_read_again() {
        let cases: [(&[u32], &str); 5] =
            [(&[], ""), (&[0], "0"), (&[3, 1, 0, 2], "0-3"), (&[4, 5, 7], "4-5,7"), (&[0, 2, 4], "0,2,4")];
        for (cpus, expected) in cases {
            let list = CpuList::new(cpus.iter().copied());
            assert_eq!(list.to_string(), expected);
            assert_eq!(expected.parse(), Ok(list));
        }
    }
}
