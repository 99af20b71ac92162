//! The tree of jobs that one event has caused, read from any of them.

use std::collections::HashSet;

use rusqlite::Connection;
use uuid::Uuid;

use super::job::Job;
use super::list;
use super::store::{self, columns};
use crate::state::{Error, Text};

/// A job and everything related to it by `parent_job_id`.
#[derive(Debug)]
pub struct Tree {
    /// The parent of the topmost job that is still there, when that one has been deleted.
    pub pruned_root: Option<Uuid>,
    /// Each job before those that it has caused.
    pub nodes: Vec<Node>,
    /// Whether there are more jobs than were asked for.
    pub cut: bool,
}

/// One job of a [`Tree`].
#[derive(Debug)]
pub struct Node {
    /// How far it is below the topmost.
    pub depth: u32,
    pub job: Job,
}

/// The whole tree that `job` is in, up to `limit` jobs, all of the same moment.
///
/// # Errors
/// When the database cannot be read.
pub fn tree(connection: &Connection, job: Job, limit: usize) -> Result<Tree, Error> {
    let snapshot = connection.unchecked_transaction()?;
    let (top, pruned_root) = climb(&snapshot, job)?;
    // What is next is at the end. A parent that was deleted may have several children that are still there.
    let mut next = match pruned_root {
        Some(parent) => nodes(1, children(&snapshot, parent, limit)?),
        None => vec![Node { depth: 0, job: top }],
    };
    // Rows that were changed by hand may go round in circles.
    let mut seen = HashSet::new();
    let mut nodes_found = Vec::new();
    while let Some(node) = next.pop() {
        if !seen.insert(node.job.id) {
            continue;
        }
        if nodes_found.len() == limit {
            return Ok(Tree { pruned_root, nodes: nodes_found, cut: true });
        }
        next.extend(nodes(node.depth + 1, children(&snapshot, node.job.id, limit)?));
        nodes_found.push(node);
    }
    Ok(Tree { pruned_root, nodes: nodes_found, cut: false })
}

/// The topmost job above `job` that is still there, and its parent if it has one.
fn climb(connection: &Connection, job: Job) -> Result<(Job, Option<Uuid>), Error> {
    let mut seen = HashSet::from([job.id]);
    let mut top = job;
    while let Some(parent) = top.parent_job_id {
        match list::job(connection, parent)? {
            Some(found) if seen.insert(found.id) => top = found,
            Some(_) => break,
            None => return Ok((top, Some(parent))),
        }
    }
    Ok((top, None))
}

pub(super) const CHILDREN: &str =
    concat!("SELECT ", columns!(), " FROM job_queue WHERE parent_job_id = ?1 ORDER BY seq LIMIT ?2");

/// What a job has caused, in the order of the queue; one more than asked for, so that it shows when there are more.
fn children(connection: &Connection, parent: Uuid, limit: usize) -> Result<Vec<Job>, Error> {
    let mut statement = connection.prepare_cached(CHILDREN)?;
    let rows = statement.query_map((Text(parent), limit.saturating_add(1)), store::job)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The last one first: the others wait below it on the stack.
fn nodes(depth: u32, jobs: Vec<Job>) -> Vec<Node> {
    jobs.into_iter().rev().map(|job| Node { depth, job }).collect()
}
