//! `ferry map diff`: what changed between two maps.

use std::fmt::Write;

use anyhow::bail;
use ferry_client::derp_map::{Change, ChangeKind, diff};

use crate::output::{self, Look, Tame, paint, print};
use crate::source::Source;
use crate::{cli, exit};

pub(crate) fn run(flags: &cli::Diff) -> anyhow::Result<u8> {
    if (&flags.old, &flags.new) == (&Source::Stdin, &Source::Stdin) {
        bail!("standard input is one map only; give the other as a FILE");
    }
    let changes = diff(&flags.old.read_map()?, &flags.new.read_map()?);
    if flags.json {
        print(serde_json::to_string(&changes)?);
    } else if changes.is_empty() {
        print("no difference");
    } else {
        print(text(&changes, output::is_coloured()).trim_end());
    }
    Ok(if changes.is_empty() { exit::DONE } else { exit::CHANGED })
}

fn text(changes: &[Change], coloured: bool) -> String {
    let mut text = String::new();
    for change in changes {
        let (sign, look) = match change.change {
            ChangeKind::RegionAdded | ChangeKind::NodeAdded => ('+', Look::Green),
            ChangeKind::RegionRemoved | ChangeKind::NodeRemoved => ('-', Look::Red),
            ChangeKind::HomeMayLeave | ChangeKind::HomeMayCome => ('!', Look::Yellow),
            ChangeKind::MapChanged
            | ChangeKind::RegionRenamed
            | ChangeKind::RegionChanged
            | ChangeKind::ScoreChanged
            | ChangeKind::NodeMoved
            | ChangeKind::NodeChanged
            | ChangeKind::NodesReordered => ('~', Look::Blue),
        };
        let _ = writeln!(text, "{} {}", paint(sign, look, coloured), Tame(&change.text));
    }
    text
}
