//! The fields that a definition may have, as data: the reader takes no other, and a test compares them
//! with the published JSON Schema.

/// Whether a field may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It may not.
    Required,
    /// It may.
    Optional,
}

/// One field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it may be left out.
    pub need: Need,
}

/// The fields of one kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What such an object is called in messages, and under `$defs` of the JSON Schema.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Shape {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A field that may not be left out.
pub(crate) const fn required(name: &'static str) -> Field {
    Field { name, need: Need::Required }
}

/// A field that may be left out.
pub(crate) const fn optional(name: &'static str) -> Field {
    Field { name, need: Need::Optional }
}

const ID: Field = required("id");
const KIND: Field = required("kind");
const DESCRIPTION: Field = optional("description");
const RETRY: Field = optional("retry");
const TIMEOUT: Field = optional("timeout");
const ON_ERROR: Field = optional("onError");
const DEFAULT: Field = optional("default");
const COMPENSATE: Field = optional("compensate");
const CACHE_KEY: Field = optional("cacheKey");

/// The whole.
pub const DEFINITION: Shape = Shape {
    name: "definition",
    fields: &[required("apiVersion"), required("kind"), required("metadata"), required("spec")],
};

/// `metadata`.
pub const METADATA: Shape =
    Shape { name: "metadata", fields: &[required("name"), DESCRIPTION, optional("labels")] };

/// `spec`.
pub const SPEC: Shape = Shape {
    name: "spec",
    fields: &[
        optional("inputs"),
        optional("outputs"),
        optional("result"),
        optional("variables"),
        optional("concurrency"),
        TIMEOUT,
        required("nodes"),
        optional("edges"),
        optional("layout"),
    ],
};

/// One of `variables`.
pub const VARIABLE: Shape =
    Shape { name: "variable", fields: &[optional("schema"), required("value")] };

/// `concurrency` of an execution.
pub const CONCURRENCY: Shape =
    Shape { name: "concurrency", fields: &[required("limit"), optional("key")] };

/// One of `edges`.
pub const EDGE: Shape =
    Shape { name: "edge", fields: &[required("from"), required("to"), optional("when")] };

/// One of `layout`.
pub const POSITION: Shape = Shape { name: "position", fields: &[required("x"), required("y")] };

/// `body` of a `map` or `loop`.
pub const BODY: Shape =
    Shape { name: "body", fields: &[required("nodes"), optional("edges"), optional("result")] };

/// `retry` of a node.
pub const RETRY_POLICY: Shape =
    Shape { name: "retry", fields: &[optional("on"), optional("maxTries"), optional("backoff")] };

/// `backoff` of a `retry`.
pub const BACKOFF: Shape =
    Shape { name: "backoff", fields: &[optional("initial"), optional("max"), optional("factor")] };

/// One of the `cases` of a `switch`.
pub const CASE: Shape = Shape { name: "case", fields: &[required("when"), required("to")] };

/// `policy` of a `join`, where it isn't a word. Exactly one of its fields is there.
pub const POLICY: Shape = Shape {
    name: "policy",
    fields: &[optional("atLeast"), optional("tolerate"), optional("firstValid")],
};

/// `signal` of a `wait`.
pub const SIGNAL: Shape = Shape {
    name: "signal",
    fields: &[required("name"), optional("schema"), TIMEOUT, optional("form")],
};

/// All shapes but those of nodes.
pub const SHAPES: [Shape; 13] = [
    DEFINITION,
    METADATA,
    SPEC,
    VARIABLE,
    CONCURRENCY,
    EDGE,
    POSITION,
    BODY,
    RETRY_POLICY,
    BACKOFF,
    CASE,
    POLICY,
    SIGNAL,
];

/// The kinds of nodes; the name of the shape is the kind.
pub const KINDS: [Shape; 14] = [
    Shape {
        name: "model",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            required("model"),
            required("request"),
            optional("operation"),
            RETRY,
            TIMEOUT,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
            CACHE_KEY,
        ],
    },
    Shape {
        name: "agent",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            required("agent"),
            optional("input"),
            optional("session"),
            RETRY,
            TIMEOUT,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
            CACHE_KEY,
        ],
    },
    Shape {
        name: "function",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            required("name"),
            optional("arguments"),
            RETRY,
            TIMEOUT,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
            CACHE_KEY,
        ],
    },
    Shape {
        name: "transform",
        fields: &[ID, KIND, DESCRIPTION, required("value"), ON_ERROR, DEFAULT],
    },
    Shape { name: "switch", fields: &[ID, KIND, DESCRIPTION, required("cases"), optional("else")] },
    Shape { name: "fork", fields: &[ID, KIND, DESCRIPTION] },
    Shape {
        name: "join",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            optional("policy"),
            optional("deadline"),
            ON_ERROR,
            DEFAULT,
        ],
    },
    Shape {
        name: "map",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            required("over"),
            optional("as"),
            optional("concurrency"),
            optional("onItemError"),
            required("body"),
            TIMEOUT,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
        ],
    },
    Shape {
        name: "loop",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            optional("while"),
            optional("until"),
            required("maxIterations"),
            required("body"),
            TIMEOUT,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
        ],
    },
    Shape {
        name: "wait",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            optional("duration"),
            optional("until"),
            optional("signal"),
            ON_ERROR,
            DEFAULT,
        ],
    },
    Shape {
        name: "workflow",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            required("name"),
            optional("version"),
            optional("alias"),
            optional("input"),
            optional("mode"),
            RETRY,
            TIMEOUT,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
            CACHE_KEY,
        ],
    },
    Shape {
        name: "emit",
        fields: &[
            ID,
            KIND,
            DESCRIPTION,
            required("topic"),
            required("type"),
            optional("subject"),
            optional("key"),
            required("data"),
            RETRY,
            ON_ERROR,
            DEFAULT,
            COMPENSATE,
        ],
    },
    Shape { name: "fail", fields: &[ID, KIND, DESCRIPTION, required("message"), optional("code")] },
    Shape { name: "end", fields: &[ID, KIND, DESCRIPTION, optional("result")] },
];
