//! Packing sections of Markdown under a token budget.
//!
//! Costs are counted per line. Both encodings cut a text after a line break unless white space or a slash follows, so the
//! sum over lines is nearly always the count of the whole; the whole is counted at the end, and what is over is taken back.

use std::sync::OnceLock;

use crate::error::Error;
use crate::tokens::TokenCounter;

/// Text of at most so many bytes per token of the budget is first tried as a whole: more hardly ever fits.
const TRY_WHOLE_BYTES_PER_TOKEN: usize = 4;
/// Stands between sections.
const BETWEEN: &str = "\n\n---\n\n";
/// The same after the last line's own line break.
const RULE: &str = "---\n\n";

/// One part of a context block.
#[derive(Clone, Debug)]
pub struct Section {
    /// First line, for example `## Current session`.
    pub heading: String,
    /// Markdown lines or paragraphs, preferred ones first.
    pub items: Vec<String>,
    /// Part of the budget it may take before the others have had theirs, 0..=1.
    pub share: f64,
    /// Show the least preferred first.
    pub reverse: bool,
    counted: OnceLock<Counted>,
}

/// All of a section and the rule behind it.
#[derive(Clone, Debug)]
struct Counted {
    encoding: &'static str,
    tokens: usize,
    bytes: usize,
}

impl Section {
    /// Refuses a share out of bounds.
    pub fn new(heading: String, items: Vec<String>, share: f64, reverse: bool) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::OutOfRange { what: "share", bounds: "between 0 and 1" });
        }
        Ok(Self { heading, items, share, reverse, counted: OnceLock::new() })
    }

    /// Count it now and remember that, so that `pack` has less to do.
    pub fn count(&self, counter: &TokenCounter) {
        self.counted.get_or_init(|| {
            let text = format!("{}{BETWEEN}", self.text(&self.all()));
            Counted { encoding: counter.encoding(), tokens: counter.count(&text), bytes: text.len() }
        });
    }

    fn all(&self) -> Vec<usize> {
        (0..self.items.len()).collect()
    }

    fn text(&self, taken: &[usize]) -> String {
        let items = taken.iter().map(|&item| self.items[item].as_str());
        let items: Vec<&str> = if self.reverse { items.rev().collect() } else { items.collect() };
        format!("{}\n\n{}", self.heading, items.join("\n"))
    }

    fn counted(&self, counter: &TokenCounter) -> Option<&Counted> {
        self.counted.get().filter(|counted| counted.encoding == counter.encoding())
    }
}

/// A packed context block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Sections parted by `---`.
    pub text: String,
    /// Exact count of `text`, never above the budget.
    pub tokens: usize,
    /// Per section the indexes of the items that found room, ascending.
    pub taken: Vec<Vec<usize>>,
}

/// Fill each section up to its share, then hand out what is left over in the order given. Items are never cut.
pub fn pack(counter: &TokenCounter, sections: &[&Section], budget: usize) -> Packed {
    whole(counter, sections, budget).unwrap_or_else(|| parts(counter, sections, budget))
}

/// Everything, when it fits: counted once instead of by the line.
fn whole(counter: &TokenCounter, sections: &[&Section], budget: usize) -> Option<Packed> {
    let taken: Vec<Vec<usize>> = sections.iter().map(|section| section.all()).collect();
    let text = render(sections, &taken);
    if text.len() > budget.saturating_mul(TRY_WHOLE_BYTES_PER_TOKEN) {
        return None;
    }
    let tokens = count_whole(counter, sections, &text);
    (tokens <= budget).then_some(Packed { text, tokens, taken })
}

/// Sections that were counted before are not counted again. Both encodings end a token between the rule and a heading: the
/// dashes take the line breaks behind them and nothing else, and what follows is cut without a look at what was before.
fn count_whole(counter: &TokenCounter, sections: &[&Section], text: &str) -> usize {
    let mut shown = sections.iter().filter(|section| !section.items.is_empty()).peekable();
    let (mut before, mut rest) = (0, text);
    while let Some(section) = shown.next() {
        let follows = shown.peek().is_some_and(|next| next.heading.starts_with('#'));
        let Some(counted) = section.counted(counter).filter(|_| follows) else { break };
        before += counted.tokens;
        rest = &rest[counted.bytes..];
    }
    before + counter.count(rest)
}

fn parts(counter: &TokenCounter, sections: &[&Section], budget: usize) -> Packed {
    let mut packing = Packing::new(counter, sections, budget);
    for (at, section) in sections.iter().enumerate() {
        packing.fill(at, (section.share * budget as f64).floor() as usize);
    }
    for at in 0..sections.len() {
        packing.fill(at, budget);
    }
    packing.finish()
}

struct Packing<'a> {
    counter: &'a TokenCounter,
    sections: &'a [&'a Section],
    budget: usize,
    used: usize,
    /// Tokens of each item with its line break.
    costs: Vec<Vec<usize>>,
    spent: Vec<usize>,
    taken: Vec<Vec<usize>>,
}

impl<'a> Packing<'a> {
    fn new(counter: &'a TokenCounter, sections: &'a [&'a Section], budget: usize) -> Self {
        let cost = |item: &String| counter.count(&format!("{item}\n"));
        Self {
            counter,
            sections,
            budget,
            used: 0,
            costs: sections.iter().map(|section| section.items.iter().map(cost).collect()).collect(),
            spent: vec![0; sections.len()],
            taken: vec![Vec::new(); sections.len()],
        }
    }

    /// Take what fits, in order of preference, until the section has spent its allowance or the budget is gone.
    fn fill(&mut self, at: usize, allowance: usize) {
        let already = std::mem::take(&mut self.taken[at]);
        let mut taken = already.clone();
        for item in (0..self.costs[at].len()).filter(|item| already.binary_search(item).is_err()) {
            let opening = if taken.is_empty() { self.opening_cost(at) } else { 0 };
            let cost = self.costs[at][item] + opening;
            if self.used + cost <= self.budget && self.spent[at] + cost <= allowance {
                self.used += cost;
                self.spent[at] += cost;
                taken.push(item);
            }
        }
        taken.sort_unstable();
        self.taken[at] = taken;
    }

    /// The heading, and the rule that parts it from another section.
    fn opening_cost(&self, at: usize) -> usize {
        let alone = self.taken.iter().all(Vec::is_empty);
        let rule = if alone { 0 } else { self.counter.count("\n") + self.counter.count(RULE) };
        rule + self.counter.count(&format!("{}\n\n", self.sections[at].heading))
    }

    fn finish(mut self) -> Packed {
        loop {
            let text = render(self.sections, &self.taken);
            let tokens = self.counter.count(&text);
            if tokens <= self.budget {
                return Packed { text, tokens, taken: self.taken };
            }
            let last = self.taken.iter_mut().rev().find(|taken| !taken.is_empty());
            last.expect("an empty text has no tokens").pop();
        }
    }
}

fn render(sections: &[&Section], taken: &[Vec<usize>]) -> String {
    let shown = sections.iter().zip(taken).filter(|(_, taken)| !taken.is_empty());
    let parts: Vec<String> = shown.map(|(section, taken)| section.text(taken)).collect();
    parts.join(BETWEEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(heading: &str, items: &[&str], share: f64, reverse: bool) -> Section {
        Section::new(heading.into(), items.iter().map(|i| (*i).to_owned()).collect(), share, reverse).unwrap()
    }

    fn counter() -> TokenCounter {
        TokenCounter::new("o200k_base").unwrap()
    }

    #[test]
    fn sections_are_parted_and_empty_ones_left_out() {
        let (a, b, c) = (
            section("## A", &["- x", "- y"], 0.5, true),
            section("## B", &[], 0.2, false),
            section("## C", &["- z"], 0.3, false),
        );
        let packed = pack(&counter(), &[&a, &b, &c], 1000);
        assert_eq!(packed.text, "## A\n\n- y\n- x\n\n---\n\n## C\n\n- z");
        assert_eq!(packed.tokens, counter().count(&packed.text));
        assert_eq!(packed.taken, [vec![0, 1], vec![], vec![0]]);
        assert_eq!(pack(&counter(), &[&b], 10), Packed { text: String::new(), tokens: 0, taken: vec![vec![]] });
        assert_eq!(pack(&counter(), &[&a, &b, &c], 0).text, "");
    }

    #[test]
    fn each_gets_its_share_first_and_the_rest_is_handed_out() {
        let long = "- one two three four five six seven eight nine ten";
        let (a, b) = (section("## A", &[long; 20], 0.5, false), section("## B", &[long; 3], 0.5, false));
        let packed = pack(&counter(), &[&a, &b], 140);
        assert_eq!(packed.taken[1].len(), 3, "the second section is not starved by the first");
        assert!(packed.taken[0].len() > 5, "what the second leaves over goes to the first: {:?}", packed.taken);
        assert!(packed.tokens > 120, "the budget is used: {}", packed.tokens);
    }

    #[test]
    fn an_item_that_does_not_fit_is_skipped_whole() {
        let huge = format!("- {}", "word ".repeat(500));
        let a = section("## A", &[&huge, "- small"], 1.0, false);
        let packed = pack(&counter(), &[&a], 50);
        assert_eq!((packed.text.as_str(), &packed.taken[0][..]), ("## A\n\n- small", &[1][..]));
    }

    /// `)` + line break is one token and `|)` without its line break is one more than with it: the lines sum to 6, the whole
    /// is 7.
    #[test]
    fn what_the_lines_undercount_is_taken_back() {
        let a = section("## A", &["!...)", "|)"], 1.0, false);
        let whole = pack(&counter(), &[&a], 7);
        assert_eq!((whole.tokens, &whole.taken[0][..]), (7, &[0, 1][..]));
        let tight = pack(&counter(), &[&a], 6);
        assert_eq!((tight.text.as_str(), &tight.taken[0][..]), ("## A\n\n!...)", &[0][..]));
        assert!(tight.tokens <= 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_budget_is_never_exceeded(
            given in proptest::collection::vec((proptest::collection::vec("[ \n/a-zA-Z.,!é日#-]{0,40}", 0..8), 0f64..=1.0, any::<bool>()), 0..5),
            budget in 0usize..200,
            second in any::<bool>(),
            early in 0usize..5,
        ) {
            let counter = TokenCounter::new(if second { "cl100k_base" } else { "o200k_base" }).unwrap();
            let sections: Vec<Section> = given
                .into_iter()
                .map(|(items, share, reverse)| Section::new("## Head".into(), items, share, reverse).unwrap())
                .collect();
            let refs: Vec<&Section> = sections.iter().collect();
            let packed = pack(&counter, &refs, budget);
            sections.iter().take(early).for_each(|section| section.count(&counter));
            prop_assert!(packed.tokens <= budget);
            prop_assert_eq!(packed.tokens, counter.count(&packed.text));
            prop_assert!(packed.taken.iter().all(|taken| taken.is_sorted_by(|a, b| a < b)));
            prop_assert_eq!(&packed, &pack(&counter, &refs, budget));
            let by_parts = parts(&counter, &refs, budget);
            prop_assert!(by_parts.tokens <= budget);
            let all = sections.iter().map(|section| section.items.len()).sum::<usize>();
            if by_parts.taken.iter().map(Vec::len).sum::<usize>() == all {
                prop_assert_eq!(packed, by_parts, "what fits by the line fits as a whole, and reads the same");
            }
        }
    }
}
