//! One row per execution, made of columns that can be written in any order: each column keeps the write
//! that wins by a rule over the writes themselves (earliest, latest, highest), never by arrival. In CQL
//! that rule is the write's timestamp.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domain::answer::{Cost, Failure, Usage};
use domain::claim::ClaimCheck;
use domain::event::{EventType, ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Kind;
use domain::workflow::admitted;
use serde::{Deserialize, Serialize};

use crate::record::{AcceptedExecution, Execution, Status};

/// What is kept of an execution besides its events and rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) kind: Kind,
    /// The earliest time of anything known.
    pub(crate) created: Millis,
    /// The latest time of anything known; retention counts from here.
    pub(crate) touched: Millis,
    /// The earliest request.
    pub(crate) accepted: Option<Accepted>,
    /// The definition as the earliest row that names one says.
    pub(crate) logged: Option<Logged>,
    /// What it can be found by, as the earliest that names something says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attributed: Option<Attributed>,
    /// The event with the highest position.
    pub(crate) latest: Option<Latest>,
    /// Of an execution with steps: of the events about the whole the one with the highest position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) standing: Option<Standing>,
    /// Of the endings of the highest generation the one with the lowest number.
    pub(crate) ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) request_time: Millis,
    definition: String,
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Logged {
    pub(crate) event_time: Millis,
    definition: String,
}

/// What an execution can be found by. Its time is that of its places in the lists by attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Attributed {
    pub(crate) time: Millis,
    pub(crate) attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latest {
    pub(crate) position: Position,
    /// `None`: the event is about a step.
    status: Option<Status>,
    pub(crate) time: Millis,
    parent_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) position: Position,
    status: Status,
    pub(crate) time: Millis,
    data: Option<String>,
    error: Option<Failure>,
    usage: Option<Usage>,
    cost: Option<Cost>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<ClaimCheck>,
}

impl Ended {
    /// What wins: the highest generation, and in it the lowest number.
    fn rank(position: Position) -> (i32, Reverse<i64>) {
        (position.generation, Reverse(position.number))
    }
}

/// The columns of a row that are kept apart, some of which may be missing or have expired.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) created: Option<Millis>,
    pub(crate) accepted: Option<Accepted>,
    pub(crate) logged: Option<Logged>,
    pub(crate) attributed: Option<Attributed>,
    pub(crate) latest: Option<Latest>,
    pub(crate) standing: Option<Standing>,
    pub(crate) ended: Option<Ended>,
}

impl Summary {
    /// An execution of which only is known that something happened at `time`.
    pub(crate) fn new(kind: Kind, time: Millis) -> Self {
        Self {
            kind,
            created: time,
            touched: time,
            accepted: None,
            logged: None,
            attributed: None,
            latest: None,
            standing: None,
            ended: None,
        }
    }

    /// Puts one together from its columns. `None`: none of them is left.
    pub(crate) fn of_columns(kind: Kind, columns: Columns) -> Option<Self> {
        let Columns { created, accepted, logged, attributed, latest, standing, ended } = columns;
        let times = [
            created,
            accepted.as_ref().map(|accepted| accepted.request_time),
            logged.as_ref().map(|logged| logged.event_time),
            attributed.as_ref().map(|attributed| attributed.time),
            latest.as_ref().map(|latest| latest.time),
            ended.as_ref().map(|ended| ended.time),
        ];
        let created = times.into_iter().flatten().min()?;
        let touched = times.into_iter().flatten().max()?;
        Some(Self { kind, created, touched, accepted, logged, attributed, latest, standing, ended })
    }

    /// Takes in a request.
    pub(crate) fn accept(&mut self, accepted: AcceptedExecution) {
        let AcceptedExecution { definition, request_time, labels, search_attributes, note, .. } =
            accepted;
        self.seen_at(request_time);
        self.attribute(request_time, search_attributes);
        let accepted = Accepted { request_time, definition, labels, note };
        if self.accepted.as_ref().is_none_or(|stands| accepted < *stands) {
            self.accepted = Some(accepted);
        }
    }

    /// Takes in an event.
    pub(crate) fn hear(&mut self, event: &ExecutionEvent) {
        self.seen_at(event.time);
        if let (EventType::Admitted, Kind::Workflow, Some(data)) =
            (event.event_type, event.kind, &event.data)
        {
            self.attribute(event.time, admitted::search_attributes(data));
        }
        let position = event.position();
        let status = Status::after(event.event_type);
        if self.latest.as_ref().is_none_or(|stands| position > stands.position) {
            let parent_id = event.parent_id.clone();
            self.latest = Some(Latest { position, status, time: event.time, parent_id });
        }
        let Some(status) = status else { return };
        let has_steps = matches!(self.kind, Kind::Workflow | Kind::Agent);
        if has_steps && self.standing.as_ref().is_none_or(|stands| position > stands.position) {
            self.standing = Some(Standing { position, status });
        }
        let wins = |stands: &Ended| Ended::rank(position) > Ended::rank(stands.position);
        if status.is_terminal() && self.ended.as_ref().is_none_or(wins) {
            self.ended = Some(Ended {
                position,
                status,
                time: event.time,
                data: event.data.clone(),
                error: event.error.clone(),
                usage: event.usage,
                cost: event.cost.clone(),
                claim: event.data_claim.clone(),
            });
        }
    }

    /// Takes in an execution-log row.
    pub(crate) fn log(&mut self, row: &ExecutionLogRecord) {
        self.seen_at(row.event_time);
        if let Some(definition) = &row.definition {
            let logged = Logged { event_time: row.event_time, definition: definition.clone() };
            if self.logged.as_ref().is_none_or(|stands| logged < *stands) {
                self.logged = Some(logged);
            }
        }
    }

    /// What a caller sees.
    pub(crate) fn into_execution(self, tenant: &str, id: &str) -> Execution {
        let Self { kind, created, accepted, logged, attributed, latest, standing, ended, .. } =
            self;
        let generation = latest.as_ref().map(|latest| latest.position.generation);
        // An ending of an older generation was replaced together with what led to it.
        let ended = ended.filter(|ended| Some(ended.position.generation) == generation);
        let (status, updated) = match (&ended, &latest) {
            (Some(ended), _) => (ended.status, ended.time),
            (None, Some(latest)) => {
                let whole = standing.map(|standing| standing.status);
                // What a step tells comes after the beginning of the whole.
                (latest.status.or(whole).unwrap_or(Status::Running), latest.time)
            }
            (None, None) => (Status::Accepted, created),
        };
        let (position, parent_id) =
            latest.map_or((None, None), |latest| (Some(latest.position), latest.parent_id));
        let (definition, labels, note) = accepted
            .map_or((None, BTreeMap::new(), None), |accepted| {
                (Some(accepted.definition), accepted.labels, accepted.note)
            });
        let mut execution = Execution {
            id: id.into(),
            kind,
            tenant: tenant.into(),
            status,
            definition: definition.or(logged.map(|logged| logged.definition)),
            parent_id,
            labels,
            search_attributes: attributed.map(|it| it.attributes).unwrap_or_default(),
            note,
            created,
            updated,
            position,
            output: None,
            output_claim: None,
            error: None,
            usage: None,
            cost: None,
        };
        if let Some(ended) = ended {
            execution.output = ended.data.filter(|_| status == Status::Succeeded);
            execution.output_claim = ended.claim.filter(|_| status == Status::Succeeded);
            execution.error = ended.error;
            execution.usage = ended.usage;
            execution.cost = ended.cost;
        }
        execution
    }

    /// Takes in what it can be found by.
    fn attribute(&mut self, time: Millis, attributes: BTreeMap<String, String>) {
        let attributed = Attributed { time, attributes };
        let wins = |stands: &Attributed| attributed < *stands;
        if !attributed.attributes.is_empty() && self.attributed.as_ref().is_none_or(wins) {
            self.attributed = Some(attributed);
        }
    }

    fn seen_at(&mut self, time: Millis) {
        self.created = self.created.min(time);
        self.touched = self.touched.max(time);
    }
}
