//! Compiles all mutants into one program: each is code beside the original, taken when its number is on.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr};

use crate::Mutant;

/// What is added to the executor: which mutant is on, or a list of those that are reached.
pub const MODULE: &str = r#"
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

static ON: AtomicUsize = AtomicUsize::new(UNKNOWN);
const UNKNOWN: usize = usize::MAX;
const LISTING: usize = usize::MAX - 1;

#[inline]
pub(crate) fn on(number: usize) -> bool {
    let on = ON.load(Relaxed);
    on == number || on >= LISTING && find(number)
}

#[cold]
fn find(number: usize) -> bool {
    static REACHED: [AtomicBool; 10_000] = [const { AtomicBool::new(false) }; 10_000];
    let text = |name| std::env::var(name).ok();
    let Some(list) = text("MUTANTS_REACHED") else {
        let on = text("MUTANT").map_or(0, |number| number.parse().unwrap());
        ON.store(on, Relaxed);
        return on == number;
    };
    ON.store(LISTING, Relaxed);
    if !REACHED[number].swap(true, Relaxed) {
        let mut file = std::fs::File::options();
        let mut file = file.create(true).append(true).open(list).unwrap();
        std::io::Write::write_all(&mut file, format!("{number}\n").as_bytes()).unwrap();
    }
    false
}
"#;

/// A file with its mutants switched, and those that cannot be: they are tried one by one.
pub struct Switched {
    pub text: String,
    pub apart: BTreeSet<usize>,
}

/// The functions that are called where the compiler computes a constant, in all files.
pub fn called_in_constants(files: &[syn::File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    loop {
        let mut calls = Calls {
            constant: false,
            names: names.clone(),
        };
        files.iter().for_each(|file| calls.visit_file(file));
        if calls.names == names {
            return names;
        }
        names = calls.names;
    }
}

struct Calls {
    constant: bool,
    names: BTreeSet<String>,
}

impl Calls {
    fn within(&mut self, constant: bool, visit: impl FnOnce(&mut Self)) {
        let outside = std::mem::replace(&mut self.constant, constant);
        visit(self);
        self.constant = outside;
    }

    fn is_constant(&self, signature: &syn::Signature) -> bool {
        signature.constness.is_some() && self.names.contains(&signature.ident.to_string())
    }
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.within(true, |calls| visit::visit_item_const(calls, item));
    }
    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.within(true, |calls| visit::visit_impl_item_const(calls, item));
    }
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.within(true, |calls| visit::visit_item_static(calls, item));
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let constant = self.is_constant(&item.sig);
        self.within(constant, |calls| visit::visit_item_fn(calls, item));
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let constant = self.is_constant(&item.sig);
        self.within(constant, |calls| visit::visit_impl_item_fn(calls, item));
    }
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if self.constant
            && let Expr::Path(function) = &*call.func
        {
            let name = function.path.segments.last().unwrap().ident.to_string();
            self.names.insert(name);
        }
        visit::visit_expr_call(self, call);
    }
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if self.constant {
            self.names.insert(call.method.to_string());
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Switches the mutants of one file, without those in `left_out`.
pub fn switch(
    source: &str,
    file: &syn::File,
    mutants: &[&Mutant],
    left_out: &BTreeSet<usize>,
    in_constants: &BTreeSet<String>,
) -> Switched {
    let mut at = HashMap::<_, Vec<&Mutant>>::new();
    for mutant in mutants.iter().filter(|it| !left_out.contains(&it.number)) {
        at.entry(mutant.range.start).or_default().push(mutant);
    }
    let mut switcher = Switcher {
        source,
        in_constants,
        at,
        constant: 0,
        edits: Vec::new(),
    };
    switcher.visit_file(file);
    let rest = std::mem::take(&mut switcher.at);
    let rest = rest.into_values().flatten().map(|it| it.number);
    Switched {
        apart: rest.collect(),
        text: apply(source, switcher.edits),
    }
}

/// Puts `before` and `after` around a place, and `between` in place of a part of it.
struct Edit {
    around: Range<usize>,
    before: String,
    after: String,
    part: Range<usize>,
    between: String,
}

fn apply(source: &str, edits: Vec<Edit>) -> String {
    // At one position: what ends there, from the inside; what is replaced; what begins, from the outside.
    let mut pieces = Vec::new();
    for (order, edit) in edits.into_iter().enumerate() {
        let (Range { start, end }, order) = (edit.around, order as isize);
        let length = (end - start) as isize;
        pieces.push((start, 2, -length, order, start, edit.before));
        pieces.push((end, 0, length, -order, end, edit.after));
        let Range { start, end } = edit.part;
        pieces.push((start, 3, 0, 0, end, edit.between));
    }
    pieces.sort();
    let (mut text, mut position) = (String::new(), 0);
    for (start, _, _, _, end, piece) in pieces {
        text.push_str(&source[position..start]);
        text.push_str(&piece);
        position = end;
    }
    text + &source[position..]
}

struct Switcher<'a> {
    source: &'a str,
    in_constants: &'a BTreeSet<String>,
    /// Those not switched yet, by the place where they begin.
    at: HashMap<usize, Vec<&'a Mutant>>,
    /// How many constants we are in.
    constant: usize,
    edits: Vec<Edit>,
}

/// Marks code, so that an error of the compiler in it leads to mutants.
fn marked(mutants: &[&Mutant], code: &str) -> String {
    let numbers: Vec<_> = mutants.iter().map(|it| it.number.to_string()).collect();
    format!("/*~{}*/{code}/*~*/", numbers.join(","))
}

fn on(mutant: &Mutant) -> String {
    format!("crate::mutant::on({})", mutant.number)
}

fn holds_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => holds_let(&binary.left) || holds_let(&binary.right),
        _ => false,
    }
}

impl<'a> Switcher<'a> {
    fn take(&mut self, genre: &str, at: usize) -> Vec<&'a Mutant> {
        let Some(here) = self.at.get_mut(&at).filter(|_| self.constant == 0) else {
            return Vec::new();
        };
        let (taken, rest) = here.drain(..).partition(|it| it.genre == genre);
        *here = rest;
        taken
    }

    fn edit(
        &mut self,
        mutants: &[&Mutant],
        around: Range<usize>,
        texts: [&str; 2],
        part: (Range<usize>, &str),
    ) {
        let numbers: Vec<_> = mutants.iter().map(|it| it.number.to_string()).collect();
        self.edits.push(Edit {
            around,
            before: format!("/*~{}*/{}", numbers.join(","), texts[0]),
            after: format!("{}/*~*/", texts[1]),
            part: part.0,
            between: part.1.to_owned(),
        });
    }

    /// The code that does what `make` says for the operator that is on, or for the original one.
    fn choose(mutants: &[&Mutant], original: &str, make: impl Fn(&str) -> String) -> String {
        let choices = mutants.iter().map(|it| {
            let code = marked(&[*it], &make(&it.replacement));
            format!("if {} {{ {code} }} else ", on(it))
        });
        choices.collect::<String>() + &format!("{{ {} }}", make(original))
    }

    fn function(&mut self, signature: &syn::Signature, visit: impl FnOnce(&mut Self)) {
        let kept = self.in_constants.contains(&signature.ident.to_string());
        let constant = signature.constness.filter(|_| kept).is_some();
        if let Some(token) = signature.constness.filter(|_| !kept) {
            self.edits.push(Edit {
                around: token.span.byte_range(),
                before: String::new(),
                after: String::new(),
                part: token.span.byte_range(),
                between: String::new(),
            });
        }
        self.constant += usize::from(constant);
        visit(self);
        self.constant -= usize::from(constant);
    }

    fn constant(&mut self, visit: impl FnOnce(&mut Self)) {
        self.constant += 1;
        visit(self);
        self.constant -= 1;
    }

    /// Whether the left side is still to be visited.
    fn binary(&mut self, binary: &syn::ExprBinary) -> bool {
        let operator = binary.op.span().byte_range();
        let mutants = self.take("BinaryOperator", operator.start);
        let (left, right) = (range(&*binary.left), range(&*binary.right));
        let all = left.start..right.end;
        let original = &self.source[operator.clone()];
        match (&mutants[..], binary.op) {
            ([], _) => {}
            ([one], BinOp::And(_) | BinOp::Or(_)) => {
                // `||` is what `&&` is with the right side in the other branch, and the other way round.
                let (test, rest) = match binary.op {
                    BinOp::And(_) => ("!=", ""),
                    _ => ("==", "!"),
                };
                let on = on(one);
                let between = format!(") {test} {on} {{");
                let after = format!("}} else {{ {rest}{on} }})");
                self.edit(&mutants, all, ["(if (", &after], (operator, &between));
            }
            (
                _,
                BinOp::Eq(_)
                | BinOp::Ne(_)
                | BinOp::Lt(_)
                | BinOp::Le(_)
                | BinOp::Gt(_)
                | BinOp::Ge(_),
            ) => {
                let code = Self::choose(&mutants, original, |operator| format!("*l {operator} *r"));
                let after = format!(")) {{ (l, r) => {code} }})");
                self.edit(&mutants, all, ["(match (&(", &after], (operator, "), &("));
            }
            _ if original.ends_with('=') => {
                let place = &self.source[left];
                let code = Self::choose(&mutants, original, |operator| {
                    format!("{place} {operator} _r")
                });
                let after = format!(") {{ _r => {code} }}");
                let part = all.start..operator.end;
                self.edit(&mutants, all, ["", &after], (part, "match ("));
                return false;
            }
            _ => {
                let code = Self::choose(&mutants, original, |operator| format!("l {operator} r"));
                let after = format!(")) {{ (l, r) => {code} }})");
                self.edit(&mutants, all, ["(match ((", &after], (operator, "), ("));
            }
        }
        true
    }
}

fn range(node: &impl Spanned) -> Range<usize> {
    let span: Span = node.span();
    span.byte_range()
}

impl<'ast> Visit<'ast> for Switcher<'_> {
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constant(|it| visit::visit_item_const(it, item));
    }
    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant(|it| visit::visit_impl_item_const(it, item));
    }
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constant(|it| visit::visit_item_static(it, item));
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, |it| visit::visit_item_fn(it, item));
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, |it| visit::visit_impl_item_fn(it, item));
    }
    fn visit_block(&mut self, block: &'ast syn::Block) {
        let first = block.stmts.first().map(|it| range(it).start);
        let mutants = first.map_or(Vec::new(), |at| self.take("FnValue", at));
        // What hides its type behind a trait has one type.
        let (hidden, mutants): (Vec<_>, Vec<_>) =
            mutants.into_iter().partition(|it| it.hides_its_type);
        let code = mutants.iter().map(|it| {
            let value = marked(&[*it], &it.replacement);
            format!("if {} {{ return {value}; }} ", on(it))
        });
        let code: String = code.collect();
        if let Some(start) = first {
            // Around all of the block's: before what begins at the same place.
            let around = start..range(block).end - 1;
            self.edits.push(Edit {
                around,
                before: code,
                after: String::new(),
                part: start..start,
                between: String::new(),
            });
            self.at.entry(start).or_default().extend(hidden);
        }
        visit::visit_block(self, block);
    }
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let holds_let = holds_let(&binary.left) || holds_let(&binary.right);
        if holds_let || self.binary(binary) {
            self.visit_expr(&binary.left);
        }
        self.visit_expr(&binary.right);
    }
    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let (all, operator) = (range(unary), range(&unary.op));
        let mutants = self.take("UnaryOperator", operator.start);
        if let [one] = mutants[..] {
            let original = &self.source[operator.clone()];
            let after = format!(
                ") {{ e => if {} {{ e }} else {{ {original}e }} }})",
                on(one)
            );
            self.edit(&mutants, all, ["", &after], (operator, "(match ("));
        }
        visit::visit_expr_unary(self, unary);
    }
    fn visit_expr_match(&mut self, it: &'ast syn::ExprMatch) {
        // A guard may leave out what another arm is there for in any case.
        let covers = |arm: &syn::Arm| arm.guard.is_none() && matches!(arm.pat, syn::Pat::Wild(_));
        let arms = it.arms.iter().map(|it| range(it).start);
        let arms: Vec<_> = arms.map(|at| (at, self.take("MatchArm", at))).collect();
        let covered = it.arms.iter().any(covers);
        if !covered {
            visit::visit_expr_match(self, it);
        }
        for (at, mutants) in arms {
            self.at.entry(at).or_default().extend(mutants);
        }
        if covered {
            visit::visit_expr_match(self, it);
        }
    }
    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let gone = self.take("MatchArm", range(arm).start);
        match &arm.guard {
            Some((_, guard)) if !holds_let(guard) => {
                let guard = range(&**guard);
                let mut mutants = self.take("MatchArmGuard", guard.start);
                // `true` first: and binds stronger than or.
                mutants.sort_by(|a, b| b.replacement.cmp(&a.replacement));
                let all: Vec<_> = gone.iter().chain(&mutants).copied().collect();
                let gone = gone.iter().map(|it| format!("!{} && ", on(it)));
                let mut before = gone.collect::<String>() + "(";
                for it in &mutants {
                    before += &match &*it.replacement {
                        "true" => format!("{} || ", on(it)),
                        _ => format!("!{} && ", on(it)),
                    };
                }
                if !all.is_empty() {
                    let part = guard.start..guard.start;
                    self.edit(&all, guard, [&(before + "("), "))"], (part, ""));
                }
            }
            None => {
                if let [one] = gone[..] {
                    let pattern = range(&arm.pat);
                    let part = pattern.end..pattern.end;
                    let after = format!(" if !{}", on(one));
                    self.edit(&gone, pattern, ["", &after], (part, ""));
                }
            }
            // Left to the other way.
            Some(_) => self.at.entry(range(arm).start).or_default().extend(gone),
        }
        visit::visit_arm(self, arm);
    }
}
