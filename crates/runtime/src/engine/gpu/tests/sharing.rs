//! Several sessions on one engine, several threads, and what a lost device or a dropped future leaves behind.

use super::*;
use crate::engine::{StateSlot, Wanted};
use crate::{Sampler, SamplerConfig};
use std::pin::pin;
use std::task::{Context, Waker};

const TEXT: [u16; 9] = [1, 200, 3, 4, 50, 6, 7, 80, 9];

/// Tokens drawn by the GPU itself after `TEXT` and one more.
fn write(session: &mut Session, sampler: &Sampler, steps: usize) -> Vec<u16> {
    let drawn = block_on(session.write_ahead(11, sampler, &TEXT, 257, steps)).unwrap();
    session.commit_ahead();
    drawn.unwrap()
}

fn sampler(window: usize) -> Sampler {
    Sampler::new(SamplerConfig {
        repetition_penalty: 1.5,
        repetition_window: window,
        seed: window as u64,
        ..SamplerConfig::default()
    })
    .unwrap()
}

#[test]
fn a_recovered_session_leaves_the_others_alone() {
    let [cpu, gpu] = pair(&|| random_model(257, 64, 2, 128), OPTIONS);
    let mut sessions = [0, 1, 2].map(|_| Session::new(Arc::clone(&gpu)));
    // The first keeps a copy of its state on the GPU, in slots that the next engine gives to others.
    sessions[0].prefill(&TEXT).unwrap();
    let first = write(&mut sessions[0], &sampler(4), 3);
    sessions[1].prefill(&TEXT[..4]).unwrap();
    sessions[2].prefill(&TEXT[..6]).unwrap();
    gpu.lose_gpu();
    for session in &mut sessions {
        session.decode(1).unwrap_err();
    }
    block_on(gpu.open_gpu(OPTIONS)).unwrap();
    for session in sessions.iter_mut().rev() {
        session.recover().unwrap();
    }
    write(&mut sessions[0], &sampler(4), 3);
    for (session, len) in sessions[1..].iter_mut().zip([4, 6]) {
        let mut expected = Session::new(Arc::clone(&cpu));
        expected.prefill(&TEXT[..len]).unwrap();
        let error = worst(session.decode(8).unwrap(), expected.decode(8).unwrap());
        assert!(error < 1e-5, "{error:e}");
    }
    assert_eq!(first.len(), 3);
}

#[test]
fn a_session_that_meets_a_lost_gpu_first_is_recovered_too() {
    let [cpu, gpu] = pair(&|| random_model(257, 64, 2, 128), OPTIONS);
    let mut expected = Session::new(Arc::clone(&cpu));
    expected.prefill(&TEXT).unwrap();
    let saved = expected.state().unwrap().to_bytes();
    let mut session = Session::new(Arc::clone(&gpu));
    session.restore(&saved).unwrap();
    gpu.lose_gpu();
    session.decode(1).unwrap_err();
    block_on(gpu.open_gpu(OPTIONS)).unwrap();
    session.recover().unwrap();
    assert!(session.logits().is_none(), "none were ever computed");
    let error = worst(session.decode(8).unwrap(), expected.decode(8).unwrap());
    assert!(error < 1e-5, "{error:e}");

    // Logits of a text that was forgotten do not come back.
    session.reset().unwrap();
    gpu.lose_gpu();
    session.decode(1).unwrap_err();
    gpu.use_cpu();
    session.recover().unwrap();
    assert_eq!((session.position(), session.logits()), (0, None));
}

#[test]
fn a_dropped_future_leaves_the_state_of_before() {
    let [cpu, gpu] = pair(&|| random_model(257, 64, 2, 128), OPTIONS);
    let [mut session, mut expected] = [&gpu, &cpu].map(|model| Session::new(Arc::clone(model)));
    session.prefill(&TEXT).unwrap();
    expected.prefill(&TEXT).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    // Natively the engine waits in its first poll, so what is dropped here has been submitted and may have been read: either all of it counts or nothing.
    let sampler = sampler(8);
    {
        let future = pin!(session.write_ahead(11, &sampler, &TEXT, 257, 3));
        let _ = future.poll(&mut context);
    }
    if session.position() == TEXT.len() as u64 {
        // Dropped while pending: the next step goes back.
        let error = worst(session.decode(8).unwrap(), expected.decode(8).unwrap());
        assert!(error < 1e-5, "{error:e}");
    } else {
        let first = session.take_back().unwrap();
        session.prefill(&[first]).unwrap();
        expected.decode(11).unwrap();
        let error = worst(session.decode(8).unwrap(), expected.decode(8).unwrap());
        assert!(error < 1e-5, "{error:e}");
    }
}

#[test]
fn threads_with_adapters_and_windows_of_their_own_do_not_mix() {
    // Room for one of the adapters at a time: every step takes it from the other.
    let options = GpuOptions {
        max_binding: 100 << 10,
        ..OPTIONS
    };
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), options);
    let [on_cpu, on_gpu] = [&cpu, &gpu].map(adapters);
    std::thread::scope(|scope| {
        for number in 0..2usize {
            let (cpu, gpu) = (Arc::clone(&cpu), Arc::clone(&gpu));
            let [mine_cpu, mine_gpu] = [&on_cpu, &on_gpu].map(|own| Arc::clone(&own[number]));
            scope.spawn(move || {
                let mut session = Session::new(gpu);
                session.set_adapter(Some(&mine_gpu)).unwrap();
                let mut expected = Session::new(cpu);
                expected.set_adapter(Some(&mine_cpu)).unwrap();
                session.prefill(&TEXT).unwrap();
                expected.prefill(&TEXT).unwrap();
                let mut sampler = sampler(2 + 5 * number);
                for round in 0..6 {
                    let drawn = write(&mut session, &sampler, 2 + number);
                    let mut history = TEXT.to_vec();
                    let mut token = 11;
                    for &found in &drawn {
                        let logits = expected.decode(token).unwrap().to_vec();
                        token = sampler
                            .sample(&logits, &history, expected.position())
                            .unwrap();
                        assert_eq!(token, found, "thread {number}, round {round}");
                        history.push(token);
                    }
                }
            });
        }
    });
}

#[test]
fn any_window_will_do() {
    let [_, gpu] = pair(&|| random_model(257, 64, 1, 64), OPTIONS);
    let mut drawn = Vec::new();
    for window in [9, 1 << 40, usize::MAX, 0] {
        let mut session = Session::new(Arc::clone(&gpu));
        session.prefill(&TEXT).unwrap();
        // The seed is the same, so only the window could make a difference, and all of these see the whole text.
        let config = SamplerConfig {
            seed: 3,
            ..sampler(window).config().clone()
        };
        drawn.push(write(&mut session, &Sampler::new(config).unwrap(), 1));
    }
    assert!(drawn.iter().all(|tokens| *tokens == drawn[0]), "{drawn:?}");
}

#[test]
fn adapters_that_do_not_fit_together_take_turns() {
    let options = GpuOptions {
        max_binding: 100 << 10,
        ..OPTIONS
    };
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), options);
    let [on_cpu, on_gpu] = [&cpu, &gpu].map(adapters);
    let room = (100 << 10) / 4;
    assert!(on_gpu[0].num_parameters() <= room);
    let all: usize = on_gpu.iter().map(|own| own.num_parameters()).sum();
    assert!(all > room, "{all} numbers fit, and nothing is tested");
    let mut batch = Batch::new(Arc::clone(&gpu));
    let mut expected = Vec::new();
    for (own, exact) in on_gpu.iter().zip(&on_cpu) {
        let mut session = Session::new(Arc::clone(&gpu));
        session.set_adapter(Some(own)).unwrap();
        let id = batch.join(session).unwrap();
        batch.feed(id, &TEXT).unwrap();
        let mut alone = Session::new(Arc::clone(&cpu));
        alone.set_adapter(Some(exact)).unwrap();
        alone.prefill(&TEXT).unwrap();
        expected.push((id, alone));
    }
    let mut steps = 0;
    while batch.waiting() > 0 {
        batch.step().unwrap();
        steps += 1;
        assert!(steps < 20, "somebody never has a turn");
    }
    assert!(steps > 1);
    for (id, alone) in &expected {
        let found = batch.session(*id).unwrap().logits().unwrap();
        let error = worst(found, alone.logits().unwrap());
        assert!(error < 1e-5, "{error:e}");
    }
}

#[test]
fn tokens_are_drawn_as_on_the_cpu_whatever_their_number() {
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), OPTIONS);
    for window in [2, 7, 0] {
        for steps in [1, 2, 3, 4] {
            let [mut session, mut expected] =
                [&gpu, &cpu].map(|model| Session::new(Arc::clone(model)));
            session.prefill(&TEXT).unwrap();
            expected.prefill(&TEXT).unwrap();
            let mut sampler = sampler(window);
            for round in 0..3 {
                let mut history = TEXT.to_vec();
                let mut token = 11;
                for found in write(&mut session, &sampler, steps) {
                    let logits = expected.decode(token).unwrap().to_vec();
                    token = sampler
                        .sample(&logits, &history, expected.position())
                        .unwrap();
                    assert_eq!(
                        token, found,
                        "window {window}, {steps} steps, round {round}"
                    );
                    history.push(token);
                }
            }
            assert_eq!(session.position(), expected.position());
        }
    }
}

/// Something that the device refuses.
fn refused_work(device: &super::super::device::Device) {
    let _ = device.raw.create_buffer(&wgpu::BufferDescriptor {
        label: Some("refused"),
        size: 4,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
}

#[test]
fn an_error_reaches_the_work_that_it_belongs_to_and_no_other() {
    let device = block_on(super::super::device::Device::open(OPTIONS)).unwrap();
    let ((), bad) = device.watch(|| refused_work(&device));
    let ((), good) = device.watch(|| ());
    // Neither kept for whoever asks next, nor found by what came after it.
    device.check().unwrap();
    block_on(good).unwrap();
    assert!(matches!(block_on(bad), Err(GpuError::Refused { .. })));
    assert!(block_on(device.scoped(|| refused_work(&device))).is_err());
    device.check().unwrap();
    // Outside of every scope it is kept, for want of somebody to tell.
    refused_work(&device);
    assert!(matches!(device.check(), Err(GpuError::Refused { .. })));
    device.check().unwrap();
}

#[test]
fn a_late_error_is_told_to_its_own_session() {
    let [cpu, gpu] = pair(&|| random_model(257, 64, 2, 128), OPTIONS);
    let mut sessions = [0, 1].map(|_| Session::new(Arc::clone(&gpu)));
    for session in &mut sessions {
        session.prefill(&TEXT).unwrap();
    }
    // As a browser tells it: after the call that caused it, before the next.
    let [other, own] = &mut sessions;
    let StateSlot::Gpu(engine, slot) = own.part(&[], Wanted::None).slot else {
        unreachable!("it computes on a GPU");
    };
    let ((), verdict) = engine.device.watch(|| refused_work(&engine.device));
    slot.owe(verdict);
    let mut expected = Session::new(cpu);
    expected.prefill(&TEXT).unwrap();
    let expected = expected.decode(8).unwrap();
    assert!(worst(other.decode(8).unwrap(), expected) < 1e-5);
    let error = own.decode(8).unwrap_err();
    assert!(
        matches!(error, RuntimeError::Gpu(GpuError::Refused { .. })),
        "{error:?}"
    );
    // Told once; its state is that of before.
    assert!(worst(own.decode(8).unwrap(), expected) < 1e-5);
}
