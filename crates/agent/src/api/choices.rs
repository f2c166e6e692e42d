//! Several answers to one request, side by side.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use futures::StreamExt;

use super::lenient::Integer;
use super::validation::count;
use crate::ask::{Answer, AskError, Piece, Pieces, Told};

/// Answers of one request that are asked for at the same time; the others come after them.
const SIDE_BY_SIDE: usize = 8;
/// Answers to one prompt at most.
const MOST_CHOICES: u32 = 16;

/// Pieces of several answers as they come, each with the number of its answer.
pub(crate) type Numbered = Told<(usize, Piece)>;

/// How many answers to each prompt are wanted.
pub(crate) fn wanted(n: Option<Integer>) -> Result<usize, Problem> {
    Ok(count("n", n, 1, MOST_CHOICES)?.map_or(1, |n| n as usize))
}

/// The request for one of several answers: a seed gives another answer to each, and the same ones again.
pub(crate) fn choice(mut request: wire::GenerateRequest, number: usize) -> wire::GenerateRequest {
    if let Some(seed) = request.sampling.as_mut().and_then(|sampling| sampling.seed.as_mut()) {
        *seed = seed.wrapping_add(number as u32);
    }
    request
}

/// Asks for all of them, a few at a time; each is asked for when its turn has come.
pub(crate) fn side_by_side(asked: impl Iterator<Item = Pieces> + Send + 'static) -> Numbered {
    let numbered = asked
        .enumerate()
        .map(|(number, pieces)| pieces.map(move |piece| piece.map(|piece| (number, piece))).boxed());
    futures::stream::iter(numbered).flatten_unordered(SIDE_BY_SIDE).boxed()
}

/// Waits for all of them.
pub(crate) async fn collect(mut pieces: Numbered, count: usize) -> Result<Vec<Answer>, AskError> {
    let mut answers = vec![Answer::default(); count];
    while let Some(piece) = pieces.next().await {
        let (number, piece) = piece?;
        answers[number].add(piece);
    }
    Ok(answers)
}

/// The account of all answers together. Those to the same prompt read it once.
pub(crate) struct Total {
    /// Answers to each prompt.
    each: usize,
    pub(crate) account: wire::Finished,
}

impl Total {
    pub(crate) fn of_prompts(each: usize) -> Self {
        Self { each, account: wire::Finished::default() }
    }

    pub(crate) fn add(&mut self, number: usize, account: &wire::Finished) {
        let total = &mut self.account;
        total.generated_tokens = total.generated_tokens.saturating_add(account.generated_tokens);
        total.generate_us = total.generate_us.saturating_add(account.generate_us);
        if number.is_multiple_of(self.each) {
            total.prompt_tokens = total.prompt_tokens.saturating_add(account.prompt_tokens);
            total.cached_prompt_tokens =
                total.cached_prompt_tokens.saturating_add(account.cached_prompt_tokens);
            total.prompt_us = total.prompt_us.saturating_add(account.prompt_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_stream::stream;

    use super::*;

    fn said(text: String) -> Piece {
        Piece::Text(wire::Text { text, logprobs: Vec::new() })
    }

    #[tokio::test]
    async fn answers_come_side_by_side_and_never_more_than_a_few_at_once() {
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let asked = (0..4 * SIDE_BY_SIDE).map({
            let most = Arc::clone(&most);
            move |number| -> Pieces {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                Box::pin(stream! {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    for _ in 0..3 {
                        tokio::task::yield_now().await;
                        yield Ok(said(format!("{number} ")));
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                    yield Ok(Piece::End(wire::Finished::default()));
                })
            }
        });
        let answers = collect(side_by_side(asked), 4 * SIDE_BY_SIDE).await.expect("answers");
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.text, format!("{number} ").repeat(3));
        }
        assert_eq!(most.load(Ordering::SeqCst), SIDE_BY_SIDE);
    }

    #[tokio::test]
    async fn one_that_says_nothing_holds_up_no_other() {
        let asked = (0..3).map(|number| -> Pieces {
            if number == 0 {
                return Box::pin(futures::stream::pending());
            }
            Box::pin(futures::stream::iter([Ok(said(number.to_string()))]))
        });
        let first: Vec<usize> =
            side_by_side(asked).take(2).map(|piece| piece.expect("said").0).collect().await;
        assert_eq!(first, [1, 2]);
    }

    #[test]
    fn choices_have_seeds_of_their_own_and_read_the_prompt_once() {
        let with = |seed| wire::GenerateRequest {
            sampling: Some(wire::Sampling { seed, ..wire::Sampling::default() }),
            ..wire::GenerateRequest::default()
        };
        let seed = |seed, number| choice(with(seed), number).sampling.and_then(|sampling| sampling.seed);
        assert_eq!((seed(Some(7), 0), seed(Some(7), 2), seed(None, 2)), (Some(7), Some(9), None));
        assert_eq!(seed(Some(u32::MAX), 1), Some(0));
        let mut total = Total::of_prompts(2);
        let account = wire::Finished { prompt_tokens: 5, generated_tokens: 3, ..wire::Finished::default() };
        (0..4).for_each(|number| total.add(number, &account));
        assert_eq!((total.account.prompt_tokens, total.account.generated_tokens), (10, 12));
        assert!(wanted(Some(Integer(0))).is_err() && wanted(Some(Integer(17))).is_err());
    }
}
