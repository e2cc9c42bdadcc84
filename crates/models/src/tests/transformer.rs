use gradus_autodiff::{AttentionMask, grad, per_example};

use super::*;

fn config() -> TransformerConfig {
    TransformerConfig { hidden: 6, deviation: 0.3, ..TransformerConfig::small(8, 2, 2) }
}

fn language(change: impl FnOnce(&mut LanguageConfig)) -> LanguageModel<f64> {
    let mut config =
        LanguageConfig { vocabulary: 7, context: 6, positions: Positions::Learned, tied: true, causal: true, transformer: config() };
    change(&mut config);
    LanguageModel::new(&config, &mut stream(11, "models-test", 0)).unwrap()
}

/// Every choice that a transformer has, one model for each.
fn languages() -> Vec<LanguageModel<f64>> {
    let rotary = |pairing| Some(Rotary { theta: 20.0, pairing, ..Rotary::default() });
    vec![
        language(|_| ()),
        language(|c| (c.positions, c.tied) = (Positions::Sinusoidal, false)),
        language(|c| {
            (c.positions, c.transformer.rotary, c.transformer.key_value_heads) = (Positions::None, rotary(Pairing::Halves), 1);
            (c.transformer.norm, c.transformer.gated, c.transformer.activation) = (NormKind::Rms, true, Activation::Silu);
        }),
        language(|c| {
            (c.positions, c.transformer.rotary) = (Positions::None, rotary(Pairing::Neighbours));
            (c.transformer.attention_bias, c.transformer.feed_forward_bias, c.transformer.norm_bias) = (false, false, false);
        }),
        language(|c| (c.transformer.norm_first, c.transformer.final_norm) = (false, false)),
    ]
}

#[test]
fn derivatives_of_both_orders_through_every_choice() {
    for model in languages() {
        let f = |m: &LanguageModel<f64>| {
            let logits = m.call(&[[1, 5, 2, 2], [0, 6, 3, 1]], &mut Pass::evaluation());
            loss::cross_entropy(&logits.reshape(&[8, 7]), &[5, 2, 2, 1, 6, 3, 1, 0])
        };
        let v = model.normal_like(&mut stream(12, "models-test", 0));
        check::gradient(f, &model, 1e-5, 1e-6).unwrap();
        check::second_order(f, &model, &v, 1e-5, 1e-5).unwrap();
    }
}

#[test]
fn writing_with_a_cache_is_the_whole_pass() {
    let rows = [[4, 0, 6, 2, 2], [1, 1, 5, 3, 0]];
    for model in languages() {
        let whole = model.call(&rows, &mut Pass::evaluation());
        // One at a time, and two after three.
        for cuts in [vec![1; 5], vec![3, 2]] {
            let (mut cache, mut first) = (Cache::default(), 0);
            for length in cuts {
                let part: Vec<&[usize]> = rows.iter().map(|row| &row[first..first + length]).collect();
                let (logits, seen) = model.decode(&part, &cache);
                assert!((logits - whole.narrow(1, first, length)).abs().as_slice().iter().all(|x| *x < 1e-12));
                (cache, first) = (seen, first + length);
            }
            assert_eq!(cache.length, 5);
        }
    }
}

#[test]
fn a_cache_is_a_value() {
    let model = language(|_| ());
    let (_, beginning) = model.decode(&[[3, 1]], &Cache::default());
    let ends = [[4, 4], [0, 2]].map(|end| model.decode(&[end], &beginning).0);
    for (end, logits) in [[3, 1, 4, 4], [3, 1, 0, 2]].iter().zip(ends) {
        let whole = model.call(&[end], &mut Pass::evaluation());
        assert!((logits - whole.narrow(1, 2, 2)).abs().sum().item() < 1e-12);
    }
}

#[test]
fn causal_models_do_not_see_the_future() {
    for model in languages() {
        let run = |row: [usize; 4]| model.call(&[row], &mut Pass::evaluation());
        let (a, b) = (run([1, 2, 3, 4]), run([1, 2, 6, 0]));
        assert_eq!(a.narrow(1, 0, 2), b.narrow(1, 0, 2));
        assert_ne!(a.narrow(1, 2, 1), b.narrow(1, 2, 1));
    }
    let open = language(|c| c.causal = false);
    let run = |row: [usize; 3]| open.call(&[row], &mut Pass::evaluation());
    assert_ne!(run([1, 2, 3]).narrow(1, 0, 1), run([1, 2, 4]).narrow(1, 0, 1));
}

#[test]
fn rotary_products_depend_on_distances_alone() {
    let (query, key) = (random(&[1, 6], 1), random(&[1, 6], 2));
    for pairing in [Pairing::Halves, Pairing::Neighbours] {
        for scaling in [
            RotaryScaling::None,
            RotaryScaling::Linear { factor: 3.0 },
            RotaryScaling::ByWavelength { factor: 4.0, low: 1.0, high: 4.0, original_context: 16.0 },
        ] {
            let rotary = Rotary { theta: 50.0, pairing, scaling };
            let product = |m: usize, n: usize| (rotary.call(&query, m) * rotary.call(&key, n)).sum().item();
            assert!((product(3, 1) - product(12, 10)).abs() < 1e-12);
            assert!((product(3, 1) - product(3, 2)).abs() > 1e-3);
            assert_eq!(rotary.call(&query, 0), query);
        }
    }
    // The two pairings are one turn of differently ordered elements.
    let order = [0, 2, 4, 1, 3, 5];
    let halves = Rotary::default().call(&query.index_select(1, &order), 5);
    let neighbours = Rotary { pairing: Pairing::Neighbours, ..Rotary::default() }.call(&query, 5).index_select(1, &order);
    assert!((halves - neighbours).abs().sum().item() < 1e-14);
}

#[test]
fn rows_of_a_padded_batch_are_their_own() {
    let encoder: Transformer<f64> = Transformer::new(&config(), &mut stream(13, "models-test", 0)).unwrap();
    let tokens = random(&[2, 4, 8], 14);
    let mask = padding_mask(&[4, 2], 4);
    let context = Context { mask: AttentionMask::Additive(&mask), ..Context::default() };
    let padded = encoder.call(&tokens, &context, &mut Pass::evaluation());
    let alone = |row, length| {
        let own = tokens.narrow(0, row, 1).narrow(1, 0, length);
        let found = encoder.call(&own, &Context::default(), &mut Pass::evaluation());
        (found - padded.narrow(0, row, 1).narrow(1, 0, length)).abs().sum().item()
    };
    assert!(alone(0, 4) < 1e-12 && alone(1, 2) < 1e-12);
}

#[test]
fn per_example_gradients_are_those_of_a_loop() {
    let config = TransformerConfig { cross_attention: false, ..config() };
    let model: Transformer<f64> = Transformer::new(&config, &mut stream(15, "models-test", 0)).unwrap();
    let (tokens, weights) = (random(&[3, 4, 8], 16), random(&[4, 8], 17));
    let losses = |m: &Transformer<f64>, x: &T64| {
        let y = m.call(x, &Context::causal(), &mut Pass::evaluation());
        (y * &weights).sum_axes(&[1, 2]).tanh()
    };
    let each = per_example(losses, &model, &tokens).unwrap();
    let squares = each.sum_of_squares().flatten();
    let mut expected = squares.clone() * 0.0;
    for row in 0..3 {
        let gradient = grad(|m: &Transformer<f64>| losses(m, &tokens.narrow(0, row, 1)).sum(), &model).flatten();
        expected += gradient.component_mul(&gradient);
    }
    assert!((squares - expected).amax() < 1e-12);
}

#[test]
fn per_example_gradients_of_a_language_model_are_those_of_a_loop() {
    for model in languages() {
        let losses = |m: &LanguageModel<f64>, tokens: &T64| {
            let logits = m.logits(&m.hidden(&m.embedding.call_of(tokens), &mut Pass::evaluation()));
            (logits * 0.3).tanh().sum_axes(&[1, 2]).square()
        };
        let tokens = T64::from_vec(vec![1.0, 2.0, 6.0, 0.0, 0.0, 3.0], &[2, 3]).unwrap();
        let squares = per_example(losses, &model, &tokens).unwrap().sum_of_squares().flatten();
        let mut expected = squares.clone() * 0.0;
        for row in 0..2 {
            let gradient = grad(|m: &LanguageModel<f64>| losses(m, &tokens.narrow(0, row, 1)).sum(), &model).flatten();
            expected += gradient.component_mul(&gradient);
        }
        assert!((squares - &expected).amax() < 1e-12 * expected.amax());
    }
}

#[test]
fn cross_attention_sees_the_memory() {
    let config = TransformerConfig { cross_attention: true, ..config() };
    let decoder: Transformer<f64> = Transformer::new(&config, &mut stream(18, "models-test", 0)).unwrap();
    let (tokens, memory) = (random(&[2, 3, 8], 19), random(&[2, 5, 8], 20));
    let run = |memory: &T64| decoder.call(&tokens, &Context { memory: Some(memory), ..Context::causal() }, &mut Pass::evaluation());
    assert_ne!(run(&memory), run(&(memory.clone() * 2.0)));
    let f = |m: &(Transformer<f64>, T64)| {
        m.0.call(&tokens, &Context { memory: Some(&m.1), ..Context::causal() }, &mut Pass::evaluation()).square().mean()
    };
    let both = (decoder.clone(), memory.clone());
    check::gradient(f, &both, 1e-5, 1e-6).unwrap();
    check::second_order(f, &both, &both.normal_like(&mut stream(21, "models-test", 0)), 1e-5, 1e-5).unwrap();
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let changes: [(&str, fn(&mut LanguageConfig)); 10] = [
        ("vocabulary", |c| c.vocabulary = 0),
        ("context", |c| c.context = 0),
        ("width", |c| c.transformer.width = 0),
        ("heads", |c| c.transformer.heads = 0),
        ("key_value_heads", |c| (c.transformer.heads, c.transformer.key_value_heads) = (4, 3)),
        ("head_width", |c| (c.transformer.head_width, c.transformer.rotary) = (3, Some(Rotary::default()))),
        ("head_width", |c| c.transformer.head_width = usize::MAX / 2),
        ("dropout", |c| c.transformer.dropout = 1.0),
        ("epsilon", |c| c.transformer.epsilon = f64::NAN),
        ("rotary.theta", |c| c.transformer.rotary = Some(Rotary { theta: -1.0, ..Rotary::default() })),
    ];
    for (name, change) in changes {
        let mut config =
            LanguageConfig { vocabulary: 7, context: 6, positions: Positions::None, tied: true, causal: true, transformer: config() };
        change(&mut config);
        let error = LanguageModel::<f32>::new(&config, &mut stream(1, "models-test", 0)).unwrap_err();
        assert_eq!(error.name, name);
    }
}

#[test]
#[should_panic(expected = "3 tokens with 4 others are more than the context of 6")]
fn more_tokens_than_the_context() {
    let model = language(|_| ());
    let (_, cache) = model.decode(&[[0; 4]], &Cache::default());
    model.decode(&[[0; 3]], &cache);
}

#[test]
#[should_panic(expected = "rows of 2 and of 3 tokens")]
fn rows_of_different_lengths() {
    language(|_| ()).call(&[vec![1, 2], vec![1, 2, 3]], &mut Pass::evaluation());
}

#[test]
fn dropout_of_a_transformer_is_its_stream() {
    let model = language(|c| c.transformer.dropout = 0.3);
    let run = |pass: &mut Pass<f64>| model.call(&[[1, 2, 3]], pass);
    let training = |seed| run(&mut Pass::training(stream(seed, "models-test", 0)));
    assert_eq!(training(1), training(1));
    assert_ne!(training(1), training(2));
    assert_ne!(training(1), run(&mut Pass::evaluation()));
}

#[test]
fn tokens_that_do_not_fit_are_told() {
    let model = language(|_| ());
    let run = |rows: &[Vec<usize>]| model.try_call(rows, &mut Pass::evaluation()).unwrap_err();
    assert_eq!(run(&[vec![1, 7]]), TokenError::Token { token: 7, vocabulary: 7 });
    assert_eq!(run(&[vec![0; 7]]), TokenError::Context { tokens: 7, others: 0, context: 6 });
    assert_eq!(run(&[vec![0; 2], vec![0]]), TokenError::Rows { first: 2, other: 1 });
    assert_eq!(model.call(&[[0usize; 0]; 3], &mut Pass::evaluation()).shape(), [3, 0, 7]);
    assert_eq!(model.call(&Vec::<Vec<usize>>::new(), &mut Pass::evaluation()).shape(), [0, 0, 7]);
    assert_eq!(language(|c| c.causal = false).try_decode(&[[0]], &Cache::default()).unwrap_err(), TokenError::NotCausal);
    let (_, cache) = model.decode(&[[0; 4]], &Cache::default());
    assert_eq!(model.try_decode(&[[0; 3]], &cache).unwrap_err(), TokenError::Context { tokens: 3, others: 4, context: 6 });
}

/// An encoder with padded rows, through the parts of a language model.
#[test]
fn a_context_of_ones_own() {
    let model = language(|c| c.causal = false);
    let rows = [[1, 2, 3], [4, 5, 0]];
    let mask = padding_mask(&[3, 2], 3);
    let context = Context { mask: AttentionMask::Additive(&mask), ..Context::default() };
    let padded = model.transformer.call(&model.place(&model.embedding.call(&rows), 0), &context, &mut Pass::evaluation());
    let alone = model.hidden(&model.embedding.call(&[[4, 5]]), &mut Pass::evaluation());
    assert!((padded.narrow(0, 1, 1).narrow(1, 0, 2) - alone).abs().sum().item() < 1e-12);
}
