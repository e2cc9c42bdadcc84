use super::*;

fn tokens(sampling: &Sampling, logits: &[f64], before: &[usize]) -> Vec<usize> {
    sampling.probabilities(logits, before).unwrap().into_iter().map(|(token, _)| token).collect()
}

#[test]
fn each_setting_by_hand() {
    let logits = [1f64, 4.0, 2.0, 3.0].map(f64::ln);
    let all = Sampling::default().probabilities(&logits, &[]).unwrap();
    for ((token, probability), expected) in all.iter().zip([(1, 0.4), (3, 0.3), (2, 0.2), (0, 0.1)]) {
        assert_eq!(*token, expected.0);
        assert!((probability - expected.1).abs() < 1e-15);
    }
    assert_eq!(tokens(&Sampling::greedy(), &logits, &[]), [1]);
    assert_eq!(tokens(&Sampling { top_k: Some(3), ..Sampling::default() }, &logits, &[]), [1, 3, 2]);
    assert_eq!(tokens(&Sampling { top_p: 0.65, ..Sampling::default() }, &logits, &[]), [1, 3]);
    assert_eq!(tokens(&Sampling { top_p: 1e-9, ..Sampling::default() }, &logits, &[]), [1]);
    assert_eq!(tokens(&Sampling { min_p: 0.6, ..Sampling::default() }, &logits, &[]), [1, 3]);
    // At temperature 1/2 probabilities go as squares: 16, 9, 4, 1 of 30.
    let cold = Sampling { temperature: 0.5, ..Sampling::default() }.probabilities(&logits, &[]).unwrap();
    assert!((cold[0].1 - 16.0 / 30.0).abs() < 1e-15);
    // The penalty halves the logit of token 1, and doubles a negative one.
    let penalty = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
    assert_eq!(tokens(&penalty, &[0.0, 1.0, 0.7, -1.0, -1.5], &[1, 3]), [2, 1, 0, 4, 3]);
    // Equal logits in the order of the tokens.
    assert_eq!(tokens(&Sampling::default(), &[2.0, 5.0, 2.0, 5.0], &[]), [1, 3, 0, 2]);
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let wrong = |sampling: Sampling| match sampling.probabilities(&[0.0, 1.0], &[]).unwrap_err() {
        SamplingError::Setting(error) => error.name,
        error => panic!("{error}"),
    };
    assert_eq!(wrong(Sampling { temperature: -1.0, ..Sampling::default() }), "temperature");
    assert_eq!(wrong(Sampling { repetition_penalty: 0.0, ..Sampling::default() }), "repetition_penalty");
    assert_eq!(wrong(Sampling { top_k: Some(0), ..Sampling::default() }), "top_k");
    assert_eq!(wrong(Sampling { top_p: 0.0, ..Sampling::default() }), "top_p");
    assert_eq!(wrong(Sampling { min_p: f64::NAN, ..Sampling::default() }), "min_p");
    let any = Sampling::default();
    assert!(matches!(any.probabilities(&[0.0, f64::NAN], &[]), Err(SamplingError::NotFinite { token: 1, .. })));
    assert_eq!(any.probabilities(&[], &[]), Err(SamplingError::Empty));
    assert_eq!(any.probabilities(&[0.0; 3], &[3]), Err(TokenError::Token { token: 3, vocabulary: 3 }.into()));

    let model: LanguageModel = LanguageModel::new(&gpt2::config(5, 4, 4, 1, 1), &mut stream(1, "models-test", 0)).unwrap();
    let rng = &mut stream(2, "models-test", 0);
    assert_eq!(generate(&model, &[], 1, &any, rng), Err(TokenError::Empty.into()));
    assert_eq!(generate(&model, &[5], 1, &any, rng), Err(TokenError::Token { token: 5, vocabulary: 5 }.into()));
    assert_eq!(generate(&model, &[0; 3], 3, &any, rng), Err(TokenError::Context { tokens: 3, others: 2, context: 4 }.into()));
    assert_eq!(generate(&model, &[0; 3], 2, &any, rng).unwrap().len(), 2);
    assert!(generate(&model, &[0], 0, &any, rng).unwrap().is_empty());
}

#[test]
fn greedy_text_is_a_fixed_point_of_the_model() {
    let mut config = gpt2::config(11, 12, 8, 2, 2);
    config.transformer.deviation = 0.5;
    let model: LanguageModel<f64> = LanguageModel::new(&config, &mut stream(3, "models-test", 0)).unwrap();
    let written = generate(&model, &[4, 9], 10, &Sampling::greedy(), &mut stream(4, "models-test", 0)).unwrap();
    let text = [&[4, 9], &written[..]].concat();
    let logits = model.call(&[&text[..]], &mut Pass::evaluation());
    for (row, next) in logits.as_slice().chunks(11).skip(1).zip(&written) {
        assert!(row.iter().all(|logit| *logit <= row[*next]));
    }
}

#[test]
fn draws_have_their_probabilities() {
    let (logits, draws) = ([0.3, -0.4, 1.1, 0.0], 20_000);
    let mut rng = stream(5, "models-test", 0);
    let mut counts = [0.0; 4];
    for _ in 0..draws {
        counts[Sampling::default().draw(&logits, &[], &mut rng).unwrap()] += 1.0;
    }
    let expected = Sampling::default().probabilities(&logits, &[]).unwrap();
    let chi_square: f64 = expected.iter().map(|(token, p)| (counts[*token] - p * draws as f64).powi(2) / (p * draws as f64)).sum();
    // The 1 - 1e-6 quantile with three degrees of freedom.
    assert!(chi_square < 30.7, "{chi_square}");
}
