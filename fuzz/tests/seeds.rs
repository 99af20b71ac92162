//! Each seed, through the oracle of its target.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Fails if a seed does, and names it; and if there are none.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
    let fails = |seed: &Path| {
        let bytes = fs::read(seed).unwrap();
        catch_unwind(|| check(&bytes)).is_err()
    };
    let failed: Vec<_> = seeds.iter().filter(|seed| fails(seed)).collect();
    assert!(failed.is_empty(), "{} of {} seeds: {failed:#?}", failed.len(), seeds.len());
}

#[test]
fn responses() {
    replay("response", ductile_fuzz::response::check);
}

#[test]
fn configurations() {
    replay("config", ductile_fuzz::config::check);
}

#[test]
fn manifests() {
    replay("manifest", ductile_fuzz::manifest::check);
}

#[test]
fn webhook_requests() {
    replay("webhook", ductile_fuzz::webhook::check);
}
