//! What one text with expressions reads, and what can be known of it without running it.
//!
//! minijinja's own `undeclared_variables` overlooks what is sliced (`x.y[1:]`), what `{% set %}` and
//! `{% with %}` assign from a name of the same name, and arguments of filter blocks; and it can't tell
//! `x.y | default(...)` from `x.y`. So this walks the parsed template itself. It is the only file that
//! uses minijinja's unstable machinery, and the reason for the exact version in `Cargo.toml`.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{CallArg, Expr, Stmt};
use minijinja::machinery::{Token, ast, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind};

use super::schema::JsonType;

/// The longest text with expressions, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The most tokens between two delimiters: minijinja walks expressions by recursion, and its parser
/// bounds only some of it.
const MAX_TOKENS: usize = 1_000;

/// Whether a text has anything for minijinja in it.
pub(super) fn has_delimiters(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|delimiter| text.contains(delimiter))
}

/// What is known of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Analysis {
    /// The expression, when the text is exactly one.
    pub(super) exact: Option<String>,
    /// Everything that is looked up outside of the text.
    pub(super) reads: Vec<Read>,
    /// Paths that are asked for with `is defined` or `is undefined`.
    pub(super) tested: Vec<Vec<String>>,
    /// What is put out: one per `{{ }}`.
    pub(super) emits: Vec<Emit>,
    /// Filters, tests and functions that don't exist: a sentence each.
    pub(super) unknown: BTreeSet<String>,
}

/// One look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// The names from the variable on, as far as they are fixed.
    pub(super) path: Vec<String>,
    /// Whether `default` or `is defined` says what happens when the last of them is undefined.
    pub(super) guard: Guard,
}

/// See [`Read::guard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// It does.
    Guarded,
    /// It fails.
    Bare,
}

/// What an expression gives, as far as its form tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Emit {
    /// The value at a path.
    Path(Vec<String>),
    /// A value of this type.
    Type(JsonType),
    /// One of several.
    Either(Vec<Emit>),
    /// Unknown.
    Other,
}

/// Parses a text.
///
/// # Errors
/// A sentence about its syntax, with the line.
pub(super) fn analyse(source: &str, environment: &Environment<'_>) -> Result<Analysis, String> {
    if source.len() > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes: split it into several nodes"));
    }
    check_tokens(source)?;
    let parsed = parse(source, "text", SyntaxConfig::default()).map_err(|e| syntax(&e))?;
    let mut walk =
        Walk { analysis: Analysis::default(), locals: vec![BTreeSet::new()], environment };
    let Stmt::Template(template) = &parsed else { return Ok(walk.analysis) };
    if let [Stmt::EmitExpr(_)] = template.children.as_slice() {
        walk.analysis.exact = inner(source).filter(|inner| parse_expr(inner).is_ok());
    }
    walk.statements(&template.children);
    Ok(walk.analysis)
}

/// What stands between the delimiters of a text that is exactly one expression.
fn inner(source: &str) -> Option<String> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim().to_owned())
}

fn check_tokens(source: &str) -> Result<(), String> {
    let mut tokens = 0;
    for token in tokenize(source, false, SyntaxConfig::default()) {
        match token.map_err(|error| syntax(&error))?.0 {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => tokens = 0,
            _ => tokens += 1,
        }
        if tokens > MAX_TOKENS {
            return Err(format!(
                "has an expression of more than {MAX_TOKENS} tokens: split it into several nodes"
            ));
        }
    }
    Ok(())
}

fn syntax(error: &minijinja::Error) -> String {
    let detail = error.detail().unwrap_or("can't be read");
    format!("has a syntax error in line {}: {detail}", error.line().unwrap_or(1))
}

struct Walk<'e> {
    analysis: Analysis,
    locals: Vec<BTreeSet<String>>,
    environment: &'e Environment<'e>,
}

impl Walk<'_> {
    fn statements(&mut self, statements: &[Stmt<'_>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn scoped(&mut self, statements: &[Stmt<'_>]) {
        self.locals.push(BTreeSet::new());
        self.statements(statements);
        self.locals.pop();
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitRaw(_) => {}
            Stmt::EmitExpr(emit) => {
                let emitted = self.form(&emit.expr);
                self.analysis.emits.push(emitted);
                self.expression(&emit.expr);
            }
            Stmt::ForLoop(each) => {
                self.expression(&each.iter);
                self.locals.push(BTreeSet::from(["loop".to_owned()]));
                self.assign(&each.target);
                if let Some(filter) = &each.filter_expr {
                    self.expression(filter);
                }
                self.statements(&each.body);
                self.locals.pop();
                self.scoped(&each.else_body);
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr);
                self.statements(&condition.true_body);
                self.statements(&condition.false_body);
            }
            Stmt::WithBlock(with) => {
                self.locals.push(BTreeSet::new());
                for (target, value) in &with.assignments {
                    self.expression(value);
                    self.assign(target);
                }
                self.statements(&with.body);
                self.locals.pop();
            }
            Stmt::Set(set) => {
                self.expression(&set.expr);
                self.assign(&set.target);
            }
            Stmt::SetBlock(set) => {
                self.optional(set.filter.as_ref());
                self.scoped(&set.body);
                self.assign(&set.target);
            }
            Stmt::AutoEscape(escape) => {
                self.expression(&escape.enabled);
                self.scoped(&escape.body);
            }
            Stmt::FilterBlock(filter) => {
                self.expression(&filter.filter);
                self.scoped(&filter.body);
            }
            Stmt::Do(done) => self.call(&done.call),
            #[allow(
                unreachable_patterns,
                reason = "other crates may switch minijinja's features on"
            )]
            _ => {
                let sentence =
                    "uses a statement that workflows don't have (macros, blocks, imports)";
                self.analysis.unknown.insert(sentence.to_owned());
            }
        }
    }

    fn assign(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(name) => {
                if let Some(innermost) = self.locals.last_mut() {
                    innermost.insert(name.id.to_owned());
                }
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.assign(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.assign(item)),
            _ => {}
        }
    }

    fn optional(&mut self, expression: Option<&Expr<'_>>) {
        if let Some(expression) = expression {
            self.expression(expression);
        }
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        self.guarded(expression, Guard::Bare);
    }

    fn guarded(&mut self, expression: &Expr<'_>, guard: Guard) {
        match expression {
            Expr::Const(_) => {}
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.look_up(expression, guard),
            Expr::Slice(slice) => {
                self.expression(&slice.expr);
                self.optional(slice.start.as_ref());
                self.optional(slice.stop.as_ref());
                self.optional(slice.step.as_ref());
            }
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                self.expression(&operation.left);
                self.expression(&operation.right);
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr);
                compare.ops.iter().for_each(|operation| self.expression(&operation.expr));
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr);
                self.guarded(&choice.true_expr, guard);
                if let Some(otherwise) = &choice.false_expr {
                    self.guarded(otherwise, guard);
                }
            }
            Expr::Filter(filter) => {
                if self.environment.empty_state().apply_filter(filter.name, &[]).is_err_and(
                    |error| error.kind() == ErrorKind::UnknownFilter && error.detail().is_none(),
                ) {
                    self.unknown("filter", filter.name);
                }
                let guard = if is_default(filter.name) { Guard::Guarded } else { Guard::Bare };
                if let Some(expression) = &filter.expr {
                    self.guarded(expression, guard);
                }
                self.arguments(&filter.args);
            }
            Expr::Test(test) => {
                if self.environment.empty_state().perform_test(test.name, &[]).is_err_and(|error| {
                    error.kind() == ErrorKind::UnknownTest && error.detail().is_none()
                }) {
                    self.unknown("test", test.name);
                }
                if matches!(test.name, "defined" | "undefined") {
                    self.analysis.tested.extend(path(&test.expr));
                    self.guarded(&test.expr, Guard::Guarded);
                } else {
                    self.expression(&test.expr);
                }
                self.arguments(&test.args);
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.items.iter().for_each(|item| self.expression(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expression(item)),
            Expr::Map(map) => {
                map.keys.iter().chain(&map.values).for_each(|item| self.expression(item));
            }
        }
    }

    fn call(&mut self, call: &ast::Call<'_>) {
        match &call.expr {
            Expr::Var(function) => {
                let is_global = self.environment.globals().any(|(name, _)| name == function.id);
                if !is_global && !self.is_local(function.id) {
                    self.unknown("function", function.id);
                }
            }
            // A method: its name is no field.
            Expr::GetAttr(method) => self.expression(&method.expr),
            other => self.expression(other),
        }
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        for argument in arguments {
            match argument {
                CallArg::Pos(value)
                | CallArg::Kwarg(_, value)
                | CallArg::PosSplat(value)
                | CallArg::KwargSplat(value) => self.expression(value),
            }
        }
    }

    /// Notes the path that ends here, and what is read inside of its subscripts.
    fn look_up(&mut self, expression: &Expr<'_>, guard: Guard) {
        self.subscripts(expression);
        let (whole, complete) = fixed_path(expression);
        if whole.first().is_some_and(|name| !self.is_local(name)) {
            let guard = if complete { guard } else { Guard::Bare };
            self.analysis.reads.push(Read { path: whole, guard });
        }
    }

    /// What stands in brackets along a path, and what the path begins with when that isn't a name.
    fn subscripts(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(_) => {}
            Expr::GetAttr(attribute) => self.subscripts(&attribute.expr),
            Expr::GetItem(item) => {
                self.expression(&item.subscript_expr);
                self.subscripts(&item.expr);
            }
            other => self.expression(other),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|names| names.contains(name))
    }

    fn unknown(&mut self, what: &str, name: &str) {
        self.analysis
            .unknown
            .insert(format!("uses the {what} {name:?}, which doesn't exist: see minijinja's list"));
    }

    fn form(&self, expression: &Expr<'_>) -> Emit {
        match expression {
            Expr::Const(constant) => match constant.value.kind() {
                minijinja::value::ValueKind::Bool => Emit::Type(JsonType::Boolean),
                minijinja::value::ValueKind::None => Emit::Type(JsonType::Null),
                _ => Emit::Other,
            },
            Expr::List(_) | Expr::Tuple(_) => Emit::Type(JsonType::Array),
            Expr::Map(_) => Emit::Type(JsonType::Object),
            Expr::Compare(_) | Expr::Test(_) => Emit::Type(JsonType::Boolean),
            Expr::UnaryOp(operation) => match operation.op {
                ast::UnaryOpKind::Not => Emit::Type(JsonType::Boolean),
                ast::UnaryOpKind::Neg => Emit::Other,
            },
            Expr::BinOp(operation) => match operation.op {
                ast::BinOpKind::Eq
                | ast::BinOpKind::Ne
                | ast::BinOpKind::Lt
                | ast::BinOpKind::Lte
                | ast::BinOpKind::Gt
                | ast::BinOpKind::Gte
                | ast::BinOpKind::In => Emit::Type(JsonType::Boolean),
                _ => Emit::Other,
            },
            Expr::IfExpr(choice) => Emit::Either(
                [Some(&choice.true_expr), choice.false_expr.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(|branch| self.form(branch))
                    .collect(),
            ),
            Expr::Filter(filter) if is_default(filter.name) => {
                filter.expr.as_ref().map_or(Emit::Other, |inner| self.form(inner))
            }
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => match path(expression) {
                Some(path) if !self.is_local(&path[0]) => Emit::Path(path),
                _ => Emit::Other,
            },
            _ => Emit::Other,
        }
    }
}

fn is_default(filter: &str) -> bool {
    matches!(filter, "default" | "d")
}

/// The names along a look-up, when all of them are fixed.
fn path(expression: &Expr<'_>) -> Option<Vec<String>> {
    match fixed_path(expression) {
        (path, true) if !path.is_empty() => Some(path),
        _ => None,
    }
}

/// The names along a look-up as far as they are fixed, and whether that is all of it. Empty when it
/// doesn't begin with a name.
fn fixed_path(expression: &Expr<'_>) -> (Vec<String>, bool) {
    match expression {
        Expr::Var(name) => (vec![name.id.to_owned()], true),
        Expr::GetAttr(attribute) => {
            let (mut path, complete) = fixed_path(&attribute.expr);
            if complete {
                path.push(attribute.name.to_owned());
            }
            (path, complete)
        }
        Expr::GetItem(item) => {
            let (mut path, complete) = fixed_path(&item.expr);
            match &item.subscript_expr {
                Expr::Const(key) if complete && key.value.as_str().is_some() => {
                    path.extend(key.value.as_str().map(str::to_owned));
                    (path, true)
                }
                _ => (path, false),
            }
        }
        _ => (Vec::new(), false),
    }
}

/// The value of an expression that is nothing but literals and operators.
pub(super) fn constant(expression: &str) -> Option<bool> {
    parse_expr(expression).ok()?.as_const().map(|value| value.is_true())
}
