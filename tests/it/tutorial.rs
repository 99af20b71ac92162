//! `plugins/README.md` is followed to the letter.
