//! `plugins/README.md` is followed to the letter: what a block with a file's name shows is written to that file, what
//! follows `$ ` is typed, and what it prints is compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::Process;

const README: &str = include_str!("../../plugins/README.md");

/// A fenced block: what stands behind the fence, and the lines in between.
struct Block {
    info: &'static str,
    line: usize,
    lines: Vec<&'static str>,
}

fn blocks(text: &'static str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(""), Some(block)) => blocks.push(block),
            (Some(info), None) => open = Some(Block { info, line: index + 1, lines: Vec::new() }),
            (None, Some(mut block)) => {
                block.lines.push(line);
                open = Some(block);
            }
            (None, None) => {}
            (Some(_), Some(block)) => panic!("the block of line {} has another inside", block.line),
        }
    }
    assert!(open.is_none(), "the last block has no end");
    blocks
}

/// Whether a line is as shown, where `...` stands for anything.
fn matches(shown: &str, line: &str) -> bool {
    let mut parts = shown.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Types the commands of a block, each in the folder that `cd` has led to.
fn follow(block: &Block, folder: &mut std::path::PathBuf, path: &str) {
    let mut lines = block.lines.iter().peekable();
    while let Some(line) = lines.next() {
        let typed = line.strip_prefix("$ ").unwrap_or_else(|| panic!("line {}: {line}", block.line));
        let mut shown = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            shown.push(*line);
        }
        if let Some(to) = typed.strip_prefix("cd ") {
            folder.push(to);
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {typed}")]).current_dir(&*folder).env_clear();
        shell.env("PATH", path).env("HOME", &*folder).env("LC_ALL", "C.UTF-8");
        let ran = Process::spawn(&mut shell, "").wait();
        let printed: Vec<_> = ran.stdout.lines().collect();
        let same = shown == ["..."]
            || shown.len() == printed.len() && shown.iter().zip(&printed).all(|(shown, line)| matches(shown, line));
        assert!(same, "$ {typed}\nREADME shows:\n{}\nit prints:\n{}", shown.join("\n"), printed.join("\n"));
        assert!(ran.code == Some(0), "$ {typed}: {ran:?}");
    }
}

#[test]
fn the_tutorial_works_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = dir.path().to_owned();
    let binary = Path::new(env!("CARGO_BIN_EXE_ductile")).parent().unwrap().display();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap());
    let (mut files, mut commands) = (0, 0);
    // Where `cd gateway` has led to; the names of files begin there.
    let root = dir.path().join("gateway");
    for block in blocks(README) {
        match block.info.split_once(' ') {
            Some((_, name)) => {
                let file = root.join(name);
                // In place, so that an executable stays one.
                fs::write(&file, block.lines.join("\n") + "\n").unwrap();
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o002, 0);
                files += 1;
            }
            None if block.info == "console" => {
                follow(&block, &mut folder, &path);
                commands += block.lines.iter().filter(|line| line.starts_with("$ ")).count();
            }
            None => {}
        }
    }
    assert!((files, commands) >= (8, 20), "followed {files} files, {commands} commands");
}

#[test]
fn dots_stand_for_anything() {
    for (shown, line, same) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a...c", "abbc", true),
        ("a...c", "abb", false),
        ("...b...", "abc", true),
        ("...x...", "abc", false),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(matches(shown, line), same, "{shown} {line}");
    }
}
