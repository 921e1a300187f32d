//! The last good map, kept in a file: a map with errors never takes its place.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ferry_client::derp_map::{Expectations, lint_json};
use ferry_protocol::derp_map::DerpMap;

use crate::source::read_file;

/// The file, which has the map alone, as JSON for any program.
#[derive(Debug)]
pub(crate) struct LastGood {
    path: PathBuf,
}

/// A map that was kept.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept {
    /// The map.
    pub(crate) map: DerpMap,
    /// How long ago it was found good for the last time.
    pub(crate) age: Duration,
}

impl LastGood {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Keeps a map in place of the last: whoever reads the file meanwhile, or after a loss of power, finds one of the two
    /// whole.
    pub(crate) fn store(&self, map: &DerpMap) -> anyhow::Result<()> {
        self.replace(map.to_json().as_bytes())
            .with_context(|| format!("cannot keep the map in {}", self.path.display()))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let unfinished = self.unfinished();
        let written = write_synced(&unfinished, text).and_then(|()| fs::rename(&unfinished, &self.path));
        if let Err(error) = written {
            // What is left of it is of no use; that it cannot be removed is no news.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        // The new name itself is only then safe. Not every system lets a folder be opened.
        match File::open(folder(&self.path)) {
            Ok(folder) => folder.sync_all(),
            Err(_) => Ok(()),
        }
    }

    /// A file beside it, of this process alone.
    fn unfinished(&self) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(format!(".{}.new", std::process::id()));
        self.path.with_file_name(name)
    }

    /// The map that was kept; None if none ever was. One that went bad on disk is an error and not a map.
    pub(crate) fn load(&self, expectations: Expectations, now: SystemTime) -> anyhow::Result<Option<Kept>> {
        let stored = match fs::metadata(&self.path).and_then(|metadata| metadata.modified()) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        };
        let linted = lint_json(&read_file(&self.path)?, None, expectations);
        let Some(map) = linted.sound() else {
            let first = linted.findings.first().map(|finding| finding.why.as_str()).unwrap_or_default();
            anyhow::bail!("{} was good once and is not any more: {first}", self.path.display());
        };
        // A clock that was set back makes it fresh, not a mistake.
        let age = now.duration_since(stored).unwrap_or_default();
        Ok(Some(Kept { map: map.clone(), age }))
    }
}

/// Where a file is.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// An age in the largest unit that says enough.
pub(crate) fn age_text(age: Duration) -> String {
    let secs = age.as_secs();
    let (count, unit) = match secs {
        0..120 => (secs, "second"),
        120..7_200 => (secs / 60, "minute"),
        7_200..172_800 => (secs / 3_600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Regions":{"900":{"RegionID":900,"RegionCode":"a","RegionName":"A",
        "Nodes":[{"Name":"900a","RegionID":900,"HostName":"a.example.net"}]}}}"#;

    #[test]
    fn what_is_kept_is_found_again_with_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(&folder.path().join("map.json"));
        assert_eq!(load(&last_good, SystemTime::now()).unwrap(), None, "nothing was kept yet");
        last_good.store(&map("a")).unwrap();
        last_good.store(&map("b")).unwrap();
        let stored = fs::metadata(&last_good.path).unwrap().modified().unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(load(&last_good, stored + hour).unwrap(), Some(Kept { map: map("b"), age: hour }));
        let before = load(&last_good, stored - hour).unwrap().unwrap();
        assert_eq!(before.age, Duration::ZERO, "the clock was set back");
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["map.json"], "nothing else is left");
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.json");
        fs::create_dir(&path).unwrap();
        let error = LastGood::new(&path).store(&map("a")).unwrap_err();
        assert!(
            format!("{error:#}").starts_with(&format!("cannot keep the map in {}", path.display())),
            "{error:#}"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_went_bad_on_disk_is_no_map() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(&folder.path().join("map.json"));
        for (text, why) in [("", "no client reads this as a map"), ("{}", "the map has no regions")] {
            fs::write(&last_good.path, text).unwrap();
            let error = load(&last_good, SystemTime::now()).unwrap_err().to_string();
            assert!(error.contains("was good once") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_age_has_one_unit() {
        let text = |secs| age_text(Duration::from_secs(secs));
        assert_eq!(text(0), "0 seconds");
        assert_eq!(text(1), "1 second");
        assert_eq!(text(119), "119 seconds");
        assert_eq!(text(120), "2 minutes");
        assert_eq!(text(7_200), "2 hours");
        assert_eq!(text(172_800), "2 days");
    }

    fn map(code: &str) -> DerpMap {
        DerpMap::from_json(GOOD.replace("\"a\"", &format!("\"{code}\"")).as_bytes()).unwrap()
    }

    fn load(last_good: &LastGood, now: SystemTime) -> anyhow::Result<Option<Kept>> {
        last_good.load(Expectations::default(), now)
    }
}
