//! Which traces are recorded. Services follow whoever calls them, so that a trace is whole or not there; at the edge, where strangers
//! call, the decision is our own: what is traced costs memory, bandwidth and a place in the collector.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt as _, TraceId},
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, Sampler, SamplingResult, ShouldSample};

/// Stands in the context of a span whose trace a stranger has named.
#[derive(Debug)]
pub(crate) struct NamedByStranger;

/// Decides by the caller's decision, where the caller is of the suite, and by the share of traces otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Sampling {
    own: Sampler,
    inherited: Sampler,
}

impl Sampling {
    /// Records this share of the traces that begin here, 0 to 1, and of those that strangers name.
    pub fn share(ratio: f64) -> Self {
        Self::deciding_by(Sampler::TraceIdRatioBased(ratio))
    }

    /// Records nothing of its own accord.
    pub fn nothing() -> Self {
        Self::deciding_by(Sampler::AlwaysOff)
    }

    fn deciding_by(own: Sampler) -> Self {
        Self {
            inherited: Sampler::ParentBased(Box::new(own.clone())),
            own,
        }
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // Spans below it inherit the mark with the context, but their parent is ours.
        let is_strangers = parent.is_some_and(|context| {
            context.get::<NamedByStranger>().is_some() && context.span().span_context().is_remote()
        });
        if !is_strangers {
            return self
                .inherited
                .should_sample(parent, trace_id, name, kind, attributes, links);
        }
        // The share is found by the id of the trace, and this one was chosen by the stranger: one of our own decides in its place.
        let chance = RandomIdGenerator::default().new_trace_id();
        self.own.should_sample(None, chance, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::SamplingDecision;

    use super::*;

    /// The trace with the lowest id, which every share above 0 has.
    const CHOSEN: TraceId = TraceId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    fn parent(flags: TraceFlags, is_remote: bool) -> Context {
        let span = SpanContext::new(CHOSEN, SpanId::from(7), flags, is_remote, TraceState::default());
        Context::new().with_remote_span_context(span)
    }

    fn is_sampled(sampling: &Sampling, parent: &Context) -> bool {
        let result = sampling.should_sample(Some(parent), CHOSEN, "rpc", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_strangers_wish_counts_for_nothing_and_a_callers_decision_holds() {
        for flags in [TraceFlags::SAMPLED, TraceFlags::default()] {
            let stranger = parent(flags, true).with_value(NamedByStranger);
            assert!(!is_sampled(&Sampling::share(0.0), &stranger));
            assert!(!is_sampled(&Sampling::nothing(), &stranger));
            assert!(is_sampled(&Sampling::share(1.0), &stranger));

            let ours = [parent(flags, true), parent(flags, false).with_value(NamedByStranger)];
            for caller in ours {
                for sampling in [Sampling::share(0.0), Sampling::share(1.0), Sampling::nothing()] {
                    assert_eq!(is_sampled(&sampling, &caller), flags.is_sampled());
                }
            }
        }
    }

    #[test]
    fn a_stranger_does_not_choose_by_the_id() {
        let sampling = Sampling::share(0.5);
        let stranger = parent(TraceFlags::SAMPLED, true).with_value(NamedByStranger);
        // That all of them fall alike has a chance of one in 2^499.
        let sampled = (0..500).filter(|_| is_sampled(&sampling, &stranger)).count();
        assert!((1..500).contains(&sampled), "{sampled} of 500");
    }
}
