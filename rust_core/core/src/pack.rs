//! Packing sections of Markdown under a token budget.
//!
//! Costs are counted per line. Both encodings cut a text after a line break unless white space or a slash follows, so the
//! sum over lines is nearly always the count of the whole; the whole is counted at the end, and what is over is taken back.

mod divide;

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::error::Error;
use crate::tokens::TokenCounter;

/// Text of at most so many bytes per token of the budget is first tried as a whole: more hardly ever fits.
const TRY_WHOLE_BYTES_PER_TOKEN: usize = 4;
/// Part of a section's share that is kept for its divisible items: they are preferred last, and the others could leave
/// nothing of them.
const DIVISIBLE_SHARE: f64 = 0.25;
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
    /// Items (ascending places) of which the newest sentences are shown where the whole does not fit.
    pub divisible: Vec<usize>,
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
        Ok(Self { heading, items, share, reverse, divisible: Vec::new(), counted: OnceLock::new() })
    }

    /// With these items divisible. Refuses a place that holds no item.
    pub fn dividing(mut self, mut places: Vec<usize>) -> Result<Self, Error> {
        if places.iter().any(|&place| place >= self.items.len()) {
            return Err(Error::OutOfRange { what: "divisible", bounds: "places of items" });
        }
        places.sort_unstable();
        places.dedup();
        self.divisible = places;
        Ok(self)
    }

    /// Count it now and remember that, so that `pack` has less to do.
    pub fn count(&self, counter: &TokenCounter) {
        self.counted.get_or_init(|| {
            let text = format!("{}{BETWEEN}", self.text(&self.items, &self.all()));
            Counted { encoding: counter.encoding(), tokens: counter.count(&text), bytes: text.len() }
        });
    }

    fn all(&self) -> Vec<usize> {
        (0..self.items.len()).collect()
    }

    /// `items` are its own, or what is shown of them.
    fn text<T: AsRef<str>>(&self, items: &[T], taken: &[usize]) -> String {
        let items = taken.iter().map(|&item| items[item].as_ref());
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

/// Fill each section up to its share, then hand out what is left over in the order given. Only divisible items are cut.
pub fn pack(counter: &TokenCounter, sections: &[&Section], budget: usize) -> Packed {
    whole(counter, sections, budget).unwrap_or_else(|| parts(counter, sections, budget))
}

/// Everything, when it fits: counted once instead of by the line.
fn whole(counter: &TokenCounter, sections: &[&Section], budget: usize) -> Option<Packed> {
    let taken: Vec<Vec<usize>> = sections.iter().map(|section| section.all()).collect();
    let items: Vec<&[String]> = sections.iter().map(|section| &section.items[..]).collect();
    let text = render(sections, &items, &taken);
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
        let allowance = section.share * budget as f64;
        let kept = if section.divisible.is_empty() { 0.0 } else { DIVISIBLE_SHARE };
        packing.fill(at, (allowance * (1.0 - kept)).floor() as usize);
        packing.divide(at, allowance.floor() as usize);
    }
    for at in 0..sections.len() {
        packing.fill(at, budget);
    }
    for at in 0..sections.len() {
        packing.divide(at, budget);
    }
    packing.finish()
}

struct Packing<'a> {
    counter: &'a TokenCounter,
    sections: &'a [&'a Section],
    budget: usize,
    used: usize,
    /// What is shown of each item.
    texts: Vec<Vec<Cow<'a, str>>>,
    /// Tokens of that with its line break.
    costs: Vec<Vec<usize>>,
    spent: Vec<usize>,
    /// Whether its heading is paid for.
    opened: Vec<bool>,
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
            texts: sections.iter().map(|section| section.items.iter().map(Cow::from).collect()).collect(),
            costs: sections.iter().map(|section| section.items.iter().map(cost).collect()).collect(),
            spent: vec![0; sections.len()],
            opened: vec![false; sections.len()],
            taken: vec![Vec::new(); sections.len()],
        }
    }

    /// Take what fits, in order of preference, until the section has spent its allowance or the budget is gone. Divisible
    /// items are left alone.
    fn fill(&mut self, at: usize, allowance: usize) {
        for item in 0..self.costs[at].len() {
            let left_alone = self.taken[at].contains(&item) || self.sections[at].divisible.binary_search(&item).is_ok();
            let cost = if left_alone { usize::MAX } else { self.costs[at][item] };
            if cost <= self.room(at, allowance) {
                self.take(at, item);
            }
        }
        self.taken[at].sort_unstable();
    }

    /// Show of the divisible items as much as there is room for now; what was shown of them before is given back first.
    fn divide(&mut self, at: usize, allowance: usize) {
        let section = self.sections[at];
        for &item in &section.divisible {
            if let Some(place) = self.taken[at].iter().position(|&taken| taken == item) {
                self.taken[at].remove(place);
                self.used -= self.costs[at][item];
                self.spent[at] -= self.costs[at][item];
            }
            let room = self.room(at, allowance);
            let Some(text) = divide::newest(self.counter, &section.items[item], room) else { continue };
            self.costs[at][item] = divide::cost(self.counter, &text);
            self.texts[at][item] = text;
            self.take(at, item);
        }
        self.taken[at].sort_unstable();
    }

    /// Tokens another item of the section may have.
    fn room(&self, at: usize, allowance: usize) -> usize {
        let opening = if self.opened[at] { 0 } else { self.opening_cost(at) };
        let left = (self.budget - self.used).min(allowance.saturating_sub(self.spent[at]));
        left.saturating_sub(opening)
    }

    fn take(&mut self, at: usize, item: usize) {
        let opening = if self.opened[at] { 0 } else { self.opening_cost(at) };
        self.opened[at] = true;
        self.used += self.costs[at][item] + opening;
        self.spent[at] += self.costs[at][item] + opening;
        self.taken[at].push(item);
    }

    /// The heading, and the rule that parts it from another section.
    fn opening_cost(&self, at: usize) -> usize {
        let alone = !self.opened.contains(&true);
        let rule = if alone { 0 } else { self.counter.count("\n") + self.counter.count(RULE) };
        rule + self.counter.count(&format!("{}\n\n", self.sections[at].heading))
    }

    fn finish(mut self) -> Packed {
        loop {
            let texts: Vec<&[Cow<'_, str>]> = self.texts.iter().map(|texts| &texts[..]).collect();
            let text = render(self.sections, &texts, &self.taken);
            let tokens = self.counter.count(&text);
            if tokens <= self.budget {
                return Packed { text, tokens, taken: self.taken };
            }
            let last = self.taken.iter_mut().rev().find(|taken| !taken.is_empty());
            last.expect("an empty text has no tokens").pop();
        }
    }
}

fn render<T: AsRef<str>>(sections: &[&Section], items: &[&[T]], taken: &[Vec<usize>]) -> String {
    let shown = sections.iter().zip(items).zip(taken).filter(|(_, taken)| !taken.is_empty());
    let parts: Vec<String> = shown.map(|((section, items), taken)| section.text(items, taken)).collect();
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

    #[test]
    fn a_divisible_item_is_cut_instead_of_left_out() {
        let facts: Vec<String> =
            (1..60).map(|n| format!("  user: The port of service {n} is {n}000. It moved.")).collect();
        let summary = format!("- summary: First of all.\n{}", facts.join("\n"));
        let items = ["- user: the newest thing said", "- user: the one before", summary.as_str()];
        let session = section("## S", &items, 0.5, true).dividing(vec![2]).unwrap();
        let long = "- one two three four five six seven eight nine ten";
        let other = section("## K", &[long; 20], 0.5, false);
        let packed = pack(&counter(), &[&session, &other], 300);
        assert_eq!(packed.taken[0], [0, 1, 2]);
        assert!(packed.text.starts_with("## S\n\n- summary: [...] "), "{}", packed.text);
        assert!(packed.text.contains("The port of service 59 is 59000. It moved.\n- user: the one before"));
        assert!((270..=300).contains(&packed.tokens), "{}", packed.tokens);
        assert!(section("## S", &["- a"], 0.5, true).dividing(vec![1]).is_err());
    }

    #[test]
    fn newer_items_do_not_crowd_a_divisible_one_out() {
        let items: Vec<String> =
            (0..20).map(|n| format!("- user: turn {n} has ten words or so in it, always")).collect();
        let mut items: Vec<&str> = items.iter().map(String::as_str).collect();
        items.push("- summary: We decided to ship on Tuesday. The key is in the vault. Ada signs.");
        let session = section("## S", &items, 0.5, true).dividing(vec![20]).unwrap();
        let packed = pack(&counter(), &[&session], 120);
        assert!(packed.text.contains("Ada signs."), "{}", packed.text);
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
                .map(|(items, share, reverse)| {
                    let last = if second { items.len().saturating_sub(1)..items.len() } else { 0..0 };
                    Section::new("## Head".into(), items, share, reverse).unwrap().dividing(last.collect()).unwrap()
                })
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
            if by_parts.taken.iter().map(Vec::len).sum::<usize>() == all && !by_parts.text.contains(divide::LEFT_OUT) {
                prop_assert_eq!(packed, by_parts, "what fits by the line fits as a whole, and reads the same");
            }
        }
    }
}
