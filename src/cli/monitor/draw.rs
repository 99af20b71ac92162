//! A picture of the model. It fits whatever size it gets, and decides nothing.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, TableState};

use super::detail::{clean, wrapped};
use super::help::{HELP, keys};
use super::model::{Model, Panel};
use super::source::MOST;
use crate::cli::output::{self, Paint};
use crate::cli::queue;
use crate::cli::status::print::{age, breaker, reason, state};
use crate::cli::status::{PluginStatus, Status};
use crate::clock::Timestamp;
use crate::queue::{Job, Status as JobStatus};

/// The most lines of what is said.
const MOST_SAID: usize = 3;
/// Less than this, and only one list fits.
const ALL_LISTS: u16 = 14;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let (text, text_style) = said(model);
    let pieces = wrapped(&text, frame.area().width).into_iter().take(MOST_SAID).map(Line::raw).collect::<Vec<_>>();
    let height = u16::try_from(pieces.len()).expect("it is a few lines at the most");
    let [header, body, message, footer] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(height),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(Text::from(vec![service(model), counts(model)])), header);
    match &model.detail {
        Some(_) => detail(frame, model, body),
        None => lists(frame, model, body),
    }
    frame.render_widget(Paragraph::new(pieces).style(text_style), message);
    frame.render_widget(Paragraph::new(Line::styled(keys(model), style(model, Paint::Dim))), footer);
    if model.help {
        help(frame, model);
    }
}

fn style(model: &Model, paint: Paint) -> Style {
    let colour = |colour| if model.colours { Style::new().fg(colour) } else { Style::new() };
    match paint {
        Paint::Plain => Style::new(),
        Paint::Head => Style::new().add_modifier(Modifier::BOLD),
        Paint::Busy => colour(Color::Cyan),
        Paint::Bad => colour(Color::Red),
        Paint::Dim if model.colours => Style::new().add_modifier(Modifier::DIM),
        Paint::Dim => Style::new(),
    }
}

/// Who runs, and since when.
fn service(model: &Model) -> Line<'_> {
    let Status { service, running, holder_pid, .. } = &model.snapshot.status;
    let name = clean(service.name.as_deref().unwrap_or("ductile"));
    let ago = |since: Option<Timestamp>| since.map_or_else(|| "?".to_owned(), |since| seconds(since, model.now));
    let version = clean(service.version.as_deref().unwrap_or("?"));
    let (paint, text) = match (holder_pid, running) {
        (Some(pid), true) => {
            (Paint::Plain, format!("running for {}, PID {pid}, ductile {version}", ago(service.started_at)))
        }
        (Some(pid), false) => (Paint::Bad, format!("no daemon; `ductile run` (PID {pid}) holds the state dir")),
        (None, _) if service.started_at.is_none() => (Paint::Bad, "no daemon has run yet".to_owned()),
        (None, _) => {
            let end = match (service.stopped_at, service.pid) {
                (Some(at), _) => format!("stopped {} ago", seconds(at, model.now)),
                (None, Some(pid)) => format!("PID {pid} was killed"),
                (None, None) => "it has ended".to_owned(),
            };
            (Paint::Bad, format!("no daemon is running ({end}); this is its last state"))
        }
    };
    Line::from(vec![
        Span::styled(name, style(model, Paint::Head)),
        Span::raw("  "),
        Span::styled(text, style(model, paint)),
    ])
}

/// What waits, and what keeps it.
fn counts(model: &Model) -> Line<'_> {
    let queue = &model.snapshot.status.queue;
    let counts = &queue.counts;
    let mut spans = Vec::new();
    if let Some(since) = queue.paused_since {
        let text = format!("PAUSED for {}", seconds(since, model.now));
        spans.extend([Span::styled(text, style(model, Paint::Bad).add_modifier(Modifier::BOLD)), Span::raw("  ")]);
    }
    spans.push(Span::raw(format!("{} queued", counts.queued)));
    if counts.waiting > 0 {
        spans.push(Span::raw(format!(" ({} waiting for a retry)", counts.waiting)));
    }
    spans.push(Span::raw(format!(", {} running, ", counts.running)));
    let dead = if counts.dead > 0 { Paint::Bad } else { Paint::Plain };
    spans.push(Span::styled(format!("{} dead", counts.dead), style(model, dead)));
    if let Some(since) = queue.oldest_waits_since {
        spans.push(Span::raw(format!("; the first waits for {}", seconds(since, model.now))));
    }
    Line::from(spans)
}

/// The question, what was said, or what hinders.
fn said(model: &Model) -> (String, Style) {
    let (text, paint) = match (&model.asking, &model.acting, &model.said, &model.trouble) {
        (Some(action), ..) => {
            let asked = Style::new().add_modifier(Modifier::REVERSED);
            return (clean(&format!("{}? y/n", action.question())), asked);
        }
        (_, Some(action), ..) => (format!("{} ...", action.question()), Paint::Busy),
        _ if model.typing => (format!("/{}_", model.filter), Paint::Head),
        (_, _, Some(said), _) => (said.text.clone(), if said.bad { Paint::Bad } else { Paint::Busy }),
        (.., Some(trouble)) => (format!("may be old: {trouble}"), Paint::Bad),
        _ if !model.filter.is_empty() => (format!("only with: {}", model.filter), Paint::Busy),
        _ => (String::new(), Paint::Plain),
    };
    (clean(&text), style(model, paint))
}

fn lists(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    if area.height < ALL_LISTS {
        return list(frame, model, model.focus, area);
    }
    // As many lines as there are rows, with some for a queue that is mostly empty; the history takes the rest.
    let room = |panel, least: usize| {
        let rows = if panel == Panel::Plugins { model.plugins().len() } else { model.jobs(panel).len() };
        let most = if model.focus == panel { area.height / 2 } else { area.height / 3 };
        let wanted = u16::try_from(rows.max(least)).unwrap_or(u16::MAX).saturating_add(2);
        Constraint::Length(wanted.min(most))
    };
    let areas: [Rect; 3] =
        Layout::vertical([room(Panel::Plugins, 1), room(Panel::Queue, 3), Constraint::Fill(1)]).areas(area);
    for (panel, area) in [Panel::Plugins, Panel::Queue, Panel::History].into_iter().zip(areas) {
        list(frame, model, panel, area);
    }
}

fn list(frame: &mut Frame<'_>, model: &Model, panel: Panel, area: Rect) {
    let focused = panel == model.focus;
    let name = name_width(model);
    let (head, widths, rows): (&[&'static str], Vec<Constraint>, Vec<Row<'_>>) = match panel {
        Panel::Plugins => (
            &["PLUGIN", "STATE", "LAST RUN", "NEXT RUN", "BREAKER", "REASON"],
            [name, 12, 19, 9, 13].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]).collect(),
            model.plugins().iter().map(|plugin| plugin_row(model, plugin)).collect(),
        ),
        Panel::Queue => (
            &["ID", "PLUGIN", "COMMAND", "STATUS", "TRY", "WAITS", "LAST ERROR"],
            [13, name, 7, 9, 5, 12].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]).collect(),
            model.jobs(panel).iter().map(|job| job_row(model, job)).collect(),
        ),
        Panel::History => (
            &["ID", "PLUGIN", "COMMAND", "STATUS", "TRY", "ENDED", "TOOK", "LAST ERROR"],
            [13, name, 7, 9, 5, 8, 6].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]).collect(),
            model.jobs(panel).iter().map(|job| job_row(model, job)).collect(),
        ),
    };
    let mark = if focused { "> " } else { "- " };
    let bold = if focused { style(model, Paint::Head) } else { style(model, Paint::Dim) };
    let title = format!("{mark}{} ", title(model, panel, rows.len()));
    let block = Block::new().borders(Borders::TOP).border_style(bold).title(Span::styled(title, bold));
    if rows.is_empty() {
        return frame.render_widget(Paragraph::new(nothing(model, panel)).block(block), area);
    }
    let head = Row::new(head.iter().map(|text| Cell::from(*text))).style(style(model, Paint::Dim));
    let chosen = if focused { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let table = Table::new(rows, widths).header(head).block(block).row_highlight_style(chosen);
    let mut state = TableState::new().with_selected(model.index(panel));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Room for the names of the plugins, as long as they are not very long.
fn name_width(model: &Model) -> u16 {
    let longest = model.snapshot.status.plugins.iter().map(|plugin| plugin.published.name.len()).max().unwrap_or(0);
    u16::try_from(longest.clamp(7, 20)).expect("it is 20 at the most")
}

fn title(model: &Model, panel: Panel, shown: usize) -> String {
    let counts = &model.snapshot.status.queue.counts;
    match panel {
        Panel::Plugins => format!("plugins ({shown})"),
        Panel::Queue if model.snapshot.waiting.len() < usize::try_from(MOST).unwrap_or(usize::MAX) => {
            format!("queue ({shown})")
        }
        Panel::Queue => format!("queue ({shown} of the first {MOST} of {})", counts.queued + counts.running),
        Panel::History if model.only_dead => format!("history, dead only ({shown} of {})", counts.dead),
        Panel::History => format!("history ({shown}, the newest first)"),
    }
}

fn nothing(model: &Model, panel: Panel) -> &'static str {
    match panel {
        _ if !model.filter.is_empty() => "nothing with these words; Esc shows everything",
        Panel::Plugins => "no plugins are configured",
        Panel::Queue => "nothing is queued or running",
        Panel::History if model.only_dead => "no dead jobs",
        Panel::History => "nothing has ended yet",
    }
}

fn plugin_row<'a>(model: &Model, plugin: &PluginStatus) -> Row<'a> {
    let paint = match (plugin.published.enabled, state(plugin)) {
        (false, _) => Paint::Dim,
        (_, "not loaded" | "unhealthy") => Paint::Bad,
        (_, "paused" | "init pending") => Paint::Busy,
        _ if plugin.breaker.opened_at.is_some() => Paint::Bad,
        _ => Paint::Plain,
    };
    let last = plugin.last_status.as_deref().zip(plugin.last_run_at);
    // An open one needs its time more than the word.
    let breaker = breaker(plugin, model.now).replace("open for", "open");
    let cells = [
        plugin.published.name.clone(),
        state(plugin).to_owned(),
        last.map_or_else(dash, |(status, at)| format!("{status} {}", short(at, model.now))),
        plugin.next_run.map_or_else(dash, |at| {
            if at > model.now { format!("in {}", seconds(model.now, at)) } else { "now".to_owned() }
        }),
        breaker,
        reason(plugin),
    ];
    Row::new(cells.map(|cell| Cell::from(clean(&cell)))).style(style(model, paint))
}

fn job_row<'a>(model: &Model, job: &Job) -> Row<'a> {
    let mut cells = vec![
        job.id.to_string()[..13].to_owned(),
        job.plugin.clone(),
        job.command.to_string(),
        job.status.to_string(),
        format!("{}/{}", job.attempt, job.max_attempts),
    ];
    match (job.completed_at, job.next_retry_at) {
        (Some(ended), _) => {
            cells.push(format!("{} ago", short(ended, model.now)));
            cells.push(job.started_at.map_or_else(dash, |started| age(started, ended)));
        }
        (None, _) if job.status == JobStatus::Running => {
            cells.push(job.started_at.map_or_else(dash, |since| format!("runs {}", short(since, model.now))));
        }
        (None, Some(retry)) if retry > model.now => cells.push(format!("retry in {}", short(model.now, retry))),
        (None, Some(_)) => cells.push("retry now".to_owned()),
        (None, None) => cells.push(short(job.created_at, model.now)),
    }
    cells.push(job.last_error.as_deref().map_or_else(dash, output::first_line));
    let paint = match queue::paint(job.status) {
        // Nearly all of the history: dim would be all that one sees.
        Paint::Dim => Paint::Plain,
        paint => paint,
    };
    Row::new(cells.into_iter().map(|cell| Cell::from(clean(&cell)))).style(style(model, paint))
}

/// The time between, in whole seconds and larger units: what goes on need not be shown more exactly.
fn seconds(since: Timestamp, until: Timestamp) -> String {
    if until.since(since) < Duration::from_secs(1) { "0s".to_owned() } else { age(since, until) }
}

/// The same in the largest of its units only.
fn short(since: Timestamp, until: Timestamp) -> String {
    seconds(since, until).split(' ').next().unwrap_or_default().to_owned()
}

fn dash() -> String {
    "-".to_owned()
}

fn detail(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let Some(detail) = &model.detail else { return };
    let lines = detail.wrapped(area.width);
    let shown = usize::from(area.height.saturating_sub(1));
    let end = (model.top + shown).min(lines.len());
    let title = format!("> job {} (lines {} to {end} of {}) ", detail.id, model.top + 1, lines.len());
    let bold = style(model, Paint::Head);
    let block = Block::new().borders(Borders::TOP).border_style(bold).title(Span::styled(title, bold));
    let text: Vec<_> = lines.iter().skip(model.top).take(shown).map(|line| Line::raw(*line)).collect();
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn help(frame: &mut Frame<'_>, model: &Model) {
    let (width, height) = (78, u16::try_from(HELP.len()).unwrap_or(u16::MAX).saturating_add(2));
    let all = frame.area();
    let (width, height) = (all.width.min(width), all.height.min(height));
    let area = Rect::new((all.width - width) / 2, (all.height - height) / 2, width, height);
    let lines: Vec<_> = HELP
        .iter()
        .map(|(keys, does)| {
            Line::from(vec![Span::styled(format!(" {keys:<17}"), style(model, Paint::Head)), Span::raw(*does)])
        })
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), area);
}
