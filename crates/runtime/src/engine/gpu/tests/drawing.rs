//! Drawing for several sessions of a batch at once.

use super::*;
use crate::{Draw, Sampler, SamplerConfig, SessionId};

/// Of different length, so that histories are.
const PROMPTS: [&[u16]; 4] = [
    &[5, 17],
    &[200, 3, 44, 5, 6, 250, 7],
    &[9, 9, 9],
    &[1, 2, 3, 4, 5],
];

/// Ways to draw that need different kernels' parts.
fn samplers() -> [Sampler; 4] {
    let plain = SamplerConfig::default();
    [
        SamplerConfig {
            repetition_penalty: 1.4,
            repetition_window: 3,
            ..SamplerConfig::greedy()
        },
        SamplerConfig {
            temperature: 0.8,
            top_p: 0.9,
            seed: 1,
            ..plain.clone()
        },
        SamplerConfig {
            top_k: 20,
            repetition_penalty: 1.3,
            repetition_window: 8,
            seed: 2,
            ..plain.clone()
        },
        SamplerConfig {
            temperature: 1.5,
            repetition_penalty: 1.1,
            repetition_window: 0,
            seed: 3,
            ..plain
        },
    ]
    .map(|config| Sampler::new(config).unwrap())
}

/// A session that writes.
struct Author {
    id: SessionId,
    sampler: Sampler,
    history: Vec<u16>,
}

/// Four sessions, the last without an adapter, each with all of its prompt but one token read.
fn authors(batch: &mut Batch, model: &Arc<Model>) -> Vec<Author> {
    let own = adapters(model);
    let mut authors = Vec::new();
    for (number, sampler) in samplers().into_iter().enumerate() {
        let mut session = Session::new(Arc::clone(model));
        let adapter = own.get(number).filter(|_| number < 3);
        session.set_adapter(adapter).unwrap();
        let history = PROMPTS[number].to_vec();
        session.prefill(&history[..history.len() - 1]).unwrap();
        let id = batch.join(session).unwrap();
        batch.feed(id, &history[history.len() - 1..]).unwrap();
        authors.push(Author {
            id,
            sampler,
            history,
        });
    }
    authors
}

/// Draws once for all of them.
fn draw(
    batch: &mut Batch,
    authors: &mut [Author],
    known: usize,
    most: usize,
) -> Vec<Result<Vec<u16>, RuntimeError>> {
    let mut draws: Vec<Draw<'_>> = authors
        .iter_mut()
        .map(|author| Draw {
            id: author.id,
            sampler: &mut author.sampler,
            history: &author.history,
            known,
        })
        .collect();
    batch.write(&mut draws, most).unwrap()
}

/// Where a text ends.
fn is_end(token: u16) -> bool {
    token % 29 == 3
}

/// The texts until they end, of 30 tokens at most, and the sessions that have read all of them; in the order of joining. Also the most tokens that were drawn at once.
fn texts(model: &Arc<Model>, most: usize) -> (Vec<(Vec<u16>, Session)>, usize) {
    let mut batch = Batch::new(Arc::clone(model));
    let mut writing = authors(&mut batch, model);
    let mut done = Vec::new();
    let mut at_once = 0;
    while !writing.is_empty() {
        let drawn = draw(&mut batch, &mut writing, 257, most);
        let mut going_on = Vec::new();
        for (mut author, drawn) in writing.into_iter().zip(drawn) {
            let drawn = drawn.unwrap();
            at_once = at_once.max(drawn.len());
            let end = drawn.iter().position(|&token| is_end(token));
            author.history.extend(&drawn[..end.unwrap_or(drawn.len())]);
            if let Some(end) = end {
                batch.keep(author.id, end).unwrap();
            }
            match end {
                None if author.history.len() < 30 => going_on.push(author),
                _ => done.push(author),
            }
        }
        writing = going_on;
        // Those that have ended read what stands; for the others a step is one more token.
        while batch.waiting() > 0 && done.len() > writing.len() {
            batch.step().unwrap();
        }
    }
    done.sort_by_key(|author| {
        PROMPTS
            .iter()
            .position(|prompt| author.history.starts_with(prompt))
    });
    let finished = done.into_iter().map(|author| {
        let session = batch.leave(author.id).unwrap();
        (author.history, session)
    });
    (finished.collect(), at_once)
}

#[test]
fn sessions_that_draw_together_write_what_the_cpu_draws_for_each() {
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), OPTIONS);
    // Each by itself, a token at a time.
    let own = adapters(&cpu);
    let mut expected = Vec::new();
    for (number, mut sampler) in samplers().into_iter().enumerate() {
        let mut session = Session::new(Arc::clone(&cpu));
        session
            .set_adapter(own.get(number).filter(|_| number < 3))
            .unwrap();
        let mut history = PROMPTS[number].to_vec();
        session.prefill(&history).unwrap();
        while history.len() < 30 {
            let logits = session.logits().unwrap();
            let token = sampler
                .sample(logits, &history, session.position())
                .unwrap();
            if is_end(token) {
                break;
            }
            history.push(token);
            session.decode(token).unwrap();
        }
        expected.push((history, session));
    }
    let lengths: Vec<usize> = expected.iter().map(|(text, _)| text.len()).collect();
    println!("lengths {lengths:?}");
    assert!(
        lengths.iter().any(|&len| len < 30),
        "no text ended: {lengths:?}"
    );
    for most in [1, 3, 4, 100] {
        for (model, ahead) in [(&cpu, 1), (&gpu, most.min(4))] {
            let (found, at_once) = texts(model, most);
            assert_eq!(at_once, ahead);
            for ((text, session), (exact, alone)) in found.iter().zip(&expected) {
                assert_eq!(text, exact, "{most} at once, on {:?}", model.gpu_name());
                assert_eq!(session.position(), text.len() as u64);
                let (a, b) = (session.state().unwrap(), alone.state().unwrap());
                for (a, b) in a.values().iter().zip(b.values()) {
                    assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
                }
            }
        }
    }
    // What was written is read again when the GPU is lost.
    let (found, _) = texts(&gpu, 4);
    gpu.lose_gpu();
    gpu.use_cpu();
    for ((text, mut session), (_, mut alone)) in found.into_iter().zip(expected) {
        session.decode(1).unwrap_err();
        session.recover().unwrap();
        assert_eq!(session.position(), text.len() as u64);
        let error = worst(session.decode(8).unwrap(), alone.decode(8).unwrap());
        assert!(error < 1e-5, "{error:e}");
    }
}

#[test]
fn one_that_cannot_draw_leaves_the_others_alone() {
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), OPTIONS);
    let mut texts = Vec::new();
    for model in [&cpu, &gpu] {
        let mut batch = Batch::new(Arc::clone(model));
        let mut writing = authors(&mut batch, model);
        let gone = batch.join(Session::new(Arc::clone(model))).unwrap();
        batch.leave(gone);
        let idle = batch.join(Session::new(Arc::clone(model))).unwrap();
        // The second may draw no token at all; two more are not there, or have nothing to go on from; the first is named twice.
        let [a, b, c, d] = &mut writing[..] else {
            unreachable!("four authors");
        };
        let first = a.id;
        let mut others = samplers();
        let [x, y, z, _] = &mut others;
        let of = |author: &'_ mut Author, known| -> (SessionId, Sampler, Vec<u16>, usize) {
            (
                author.id,
                author.sampler.clone(),
                author.history.clone(),
                known,
            )
        };
        let mut own = [of(a, 257), of(b, 0), of(c, 257), of(d, 257)];
        let mut draws: Vec<Draw<'_>> = own
            .iter_mut()
            .map(|(id, sampler, history, known)| Draw {
                id: *id,
                sampler,
                history,
                known: *known,
            })
            .collect();
        for (id, sampler) in [(gone, x), (idle, y), (first, z)] {
            draws.push(Draw {
                id,
                sampler,
                history: &[],
                known: 257,
            });
        }
        let found = batch.write(&mut draws, 1).unwrap();
        assert!(
            matches!(found[1], Err(RuntimeError::LogitsLength { .. })),
            "{found:?}"
        );
        assert!(
            matches!(found[4], Err(RuntimeError::NoSuchSession)),
            "{found:?}"
        );
        assert!(matches!(found[5], Err(RuntimeError::NoTokens)), "{found:?}");
        assert!(matches!(found[6], Err(RuntimeError::NoTokens)), "{found:?}");
        for (author, drawn) in writing.iter_mut().zip(&found) {
            match drawn {
                Ok(drawn) => author.history.extend(drawn),
                // It has read its token all the same, and goes on with any.
                Err(_) => {
                    assert_eq!(batch.session(author.id).unwrap().position(), 7);
                    batch.feed(author.id, &[77]).unwrap();
                    author.history.push(77);
                }
            }
        }
        for _ in 0..3 {
            let drawn = draw(&mut batch, &mut writing, 257, 1);
            for (author, drawn) in writing.iter_mut().zip(drawn) {
                author.history.extend(drawn.unwrap());
            }
        }
        texts.push(
            writing
                .into_iter()
                .map(|author| author.history)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn adapters_that_do_not_fit_together_draw_in_turn() {
    let options = GpuOptions {
        max_binding: 100 << 10,
        ..OPTIONS
    };
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), options);
    let [expected, found] = [&cpu, &gpu].map(|model| {
        let (texts, _) = texts(model, 4);
        texts.into_iter().map(|(text, _)| text).collect::<Vec<_>>()
    });
    assert_eq!(found, expected);
}
