//! What depends only on the names of an event's fields, computed once for all events with the same names.
//!
//! Mailjet writes the fields of one kind of event in one order, so a day's events have a handful of layouts.
//! A layout is found by walking a tree of names, one level for each field. That compares each name with the
//! few that have followed the same names before; it builds no key and hashes nothing. When the tree is full,
//! all of it is dropped, because any other choice of what to drop would need a note for each event.

use catalog::members::Members;

use super::primary_key::CanonicalOrder;
use super::template::Templates;

/// The names that are kept, over all layouts. Past this, all of them are dropped and learnt again. This
/// happens only if a sender keeps using new names.
const MAX_NODES: usize = 2_000;
/// The layouts that are kept. With the size of each template, this limits the memory for all of them.
const MAX_LAYOUTS: usize = 128;
/// A layout is not kept if its names have more bytes than this together. The names of Mailjet's own fields
/// have a sixth of that.
const MAX_NAMES_BYTES: usize = 2 << 10;

#[derive(Debug)]
pub(super) struct FieldLayout {
    pub(super) order: CanonicalOrder,
    pub(super) templates: Templates,
}

/// The layouts seen so far: a tree in which the names of an event are a path.
#[derive(Debug)]
pub(super) struct LayoutCache {
    nodes: Vec<Node>,
    layouts: usize,
}

/// The last name of a path from the root.
#[derive(Debug, Default)]
struct Node {
    /// With its quotes and escapes.
    quoted_name: Box<str>,
    /// The nodes for the names that may follow.
    next: Vec<usize>,
    /// The layout of the events whose names end here.
    layout: Option<FieldLayout>,
}

impl Default for LayoutCache {
    fn default() -> Self {
        LayoutCache { nodes: vec![Node::default()], layouts: 0 }
    }
}

impl LayoutCache {
    /// Returns the layout of events with these names, or `None` if it is not kept.
    pub(super) fn layout_of(&mut self, members: Members<'_, '_>) -> Option<&mut FieldLayout> {
        let mut at = 0;
        for member in members.iter() {
            let mut next = self.nodes[at].next.iter();
            at = match next.find(|node| *self.nodes[**node].quoted_name == *member.quoted_name) {
                Some(node) => *node,
                None => self.add_node(at, member.quoted_name, members)?,
            };
        }
        if self.nodes[at].layout.is_none() {
            if self.layouts == MAX_LAYOUTS {
                *self = LayoutCache::default();
                return None;
            }
            self.layouts += 1;
        }
        let learn = || FieldLayout { order: CanonicalOrder::new(members), templates: Templates::default() };
        Some(self.nodes[at].layout.get_or_insert_with(learn))
    }

    /// Adds a node for `quoted_name`, one of the names of `members`, after `node`. Returns the new one.
    fn add_node(&mut self, node: usize, quoted_name: &str, members: Members<'_, '_>) -> Option<usize> {
        if members.iter().map(|member| member.quoted_name.len()).sum::<usize>() > MAX_NAMES_BYTES {
            return None;
        }
        if self.nodes.len() == MAX_NODES {
            *self = LayoutCache::default();
            return None;
        }
        let new = self.nodes.len();
        self.nodes.push(Node { quoted_name: quoted_name.into(), ..Node::default() });
        self.nodes[node].next.push(new);
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::members;

    /// The address of the layout kept for `event`.
    fn kept(layouts: &mut LayoutCache, event: &str) -> Option<*const FieldLayout> {
        let spans = members::parse_object(event).expect("an object");
        layouts.layout_of(Members::new(event, &spans)).map(|layout| std::ptr::from_ref(layout))
    }

    #[test]
    fn events_share_a_layout_if_they_have_the_same_names_in_the_same_order() {
        let mut layouts = LayoutCache::default();
        let events = r#"{"a":1,"b":2};{"b":1,"a":2};{"a":1};{};{"a":1,"a":2};{"a":1,"\u0062":2}"#;
        let events: Vec<_> = events.split(';').collect();
        // Addresses are compared only once all layouts are there: the tree moves as it grows.
        assert!(events.iter().all(|event| kept(&mut layouts, event).is_some()));
        let addresses: Vec<_> = events.iter().map(|event| kept(&mut layouts, event)).collect();
        for (number, address) in addresses.iter().enumerate() {
            assert!(!addresses[..number].contains(address), "{}", events[number]);
        }
        assert_eq!(kept(&mut layouts, r#"{"a":{"b":2}, "b" :"x"}"#), addresses[0]);
        assert_eq!(kept(&mut layouts, "{ }"), addresses[3]);
    }

    #[test]
    fn layouts_that_do_not_come_again_take_little_memory() {
        let mut layouts = LayoutCache::default();
        for number in 0..10_000 {
            kept(&mut layouts, &format!(r#"{{"event":1,"f{number}":2}}"#));
            assert!(layouts.nodes.len() <= MAX_NODES && layouts.layouts <= MAX_LAYOUTS);
        }
        let long = format!(r#"{{"{}":1}}"#, "n".repeat(MAX_NAMES_BYTES));
        let many: Vec<_> = (0..MAX_NAMES_BYTES / 5).map(|number| format!(r#""f{number}":1"#)).collect();
        assert_eq!(kept(&mut layouts, &long), None);
        assert_eq!(kept(&mut layouts, &format!("{{{}}}", many.join(","))), None);
        assert!(kept(&mut layouts, "{}").is_some());
    }
}
