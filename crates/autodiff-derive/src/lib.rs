//! The derive macro Params of gradus-autodiff: a model is a plain struct of tensors
