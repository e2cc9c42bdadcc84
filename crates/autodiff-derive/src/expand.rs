use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, GenericArgument, GenericParam, Generics, Index, LitStr, Member, PathArguments, Token,
    Type, TypeParamBound, WherePredicate,
};

/// One field of the struct: where it is, its type, and how its leaves are visited.
struct Field<'a> {
    member: Member,
    ty: &'a Type,
    role: Role,
}

enum Role {
    /// Visited under a name of its own.
    Child(String),
    /// Visited under a name of its own, as state that is not trained.
    Buffer(String),
    /// Visited without a name of its own.
    Flatten,
    /// Not visited.
    Skip,
}

/// The implementation of `Params` for one struct.
pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let fields = read_fields(input)?;
    let elem = match read_elem(&input.attrs)? {
        Some(elem) => elem.into_token_stream(),
        None => infer_elem(&input.generics, &fields),
    };
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let own = where_clause.iter().flat_map(|clause| &clause.predicates).cloned();
    let predicates: Vec<WherePredicate> = own.chain(bounds(name, &input.generics, &fields, &elem)).collect();
    let where_clause = if predicates.is_empty() { quote!() } else { quote!(where #(#predicates),*) };
    let visits = fields.iter().filter_map(|field| visit(field, false));
    let visits_mut = fields.iter().filter_map(|field| visit(field, true));
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::gradus_autodiff::Params for #name #type_generics #where_clause {
            type Elem = #elem;

            fn for_each<'params>(
                &'params self,
                path: &mut ::gradus_autodiff::Path,
                f: &mut dyn ::core::ops::FnMut(
                    &::gradus_autodiff::Path,
                    &'params ::gradus_autodiff::Tensor<Self::Elem>,
                ),
            ) {
                #(#visits)*
            }

            fn for_each_mut<'params>(
                &'params mut self,
                path: &mut ::gradus_autodiff::Path,
                f: &mut dyn ::core::ops::FnMut(
                    &::gradus_autodiff::Path,
                    &'params mut ::gradus_autodiff::Tensor<Self::Elem>,
                ),
            ) {
                #(#visits_mut)*
            }
        }
    })
}

/// The call of `for_each`, or of `for_each_mut`, on one field.
fn visit(field: &Field<'_>, mutable: bool) -> Option<TokenStream> {
    let Field { member, ty, role } = field;
    let visit = if mutable {
        quote_spanned!(ty.span()=> ::gradus_autodiff::Params::for_each_mut(&mut self.#member, path, f))
    } else {
        quote_spanned!(ty.span()=> ::gradus_autodiff::Params::for_each(&self.#member, path, f))
    };
    match role {
        Role::Child(name) => Some(quote!(path.child(#name, |path| #visit);)),
        Role::Buffer(name) => Some(quote!(path.buffer(#name, |path| #visit);)),
        Role::Flatten => Some(quote!(#visit;)),
        Role::Skip => None,
    }
}

/// What the types of the fields must satisfy where they depend on type parameters.
fn bounds(name: &Ident, generics: &Generics, fields: &[Field<'_>], elem: &TokenStream) -> Vec<WherePredicate> {
    let parameters: Vec<&Ident> = generics.type_params().map(|parameter| &parameter.ident).collect();
    let generic = fields.iter().filter(|field| {
        let mentions = |ident: &Ident| parameters.contains(&ident);
        // A bound on a type that contains the struct itself would need itself to be proved.
        let recursive = |ident: &Ident| ident == name || ident == "Self";
        any_ident(field.ty, &mentions) && !any_ident(field.ty, &recursive)
    });
    let bound = |field: &Field<'_>| {
        let ty = field.ty;
        match field.role {
            Role::Skip => syn::parse_quote!(#ty: ::core::clone::Clone),
            // The first field may itself define the element type; a bound in terms of itself would be circular.
            _ if defines(ty, elem) => syn::parse_quote!(#ty: ::gradus_autodiff::Params),
            _ => syn::parse_quote!(#ty: ::gradus_autodiff::Params<Elem = #elem>),
        }
    };
    generic.map(bound).collect()
}

fn defines(ty: &Type, elem: &TokenStream) -> bool {
    elem_of(ty).to_string() == elem.to_string()
}

fn elem_of(ty: &Type) -> TokenStream {
    quote!(<#ty as ::gradus_autodiff::Params>::Elem)
}

fn any_ident(tokens: impl ToTokens, matches: &dyn Fn(&Ident) -> bool) -> bool {
    tokens.into_token_stream().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => matches(&ident),
        TokenTree::Group(group) => any_ident(group.stream(), matches),
        _ => false,
    })
}

/// The element type where the struct does not say it.
///
/// The type parameter or the tensor comes before the plain rule (that of the first field), because the first field's
/// type may be private and an associated type must not name a private type.
fn infer_elem(generics: &Generics, fields: &[Field<'_>]) -> TokenStream {
    if let Some(parameter) = scalar_parameter(generics) {
        return parameter.into_token_stream();
    }
    let mut holding = fields.iter().filter(|field| !matches!(field.role, Role::Skip)).map(|field| field.ty);
    if let Some(elem) = holding.clone().find_map(tensor_elem) {
        return elem;
    }
    holding.next().map(elem_of).unwrap_or_default()
}

/// The type parameter bounded by `Scalar`, if there is exactly one.
fn scalar_parameter(generics: &Generics) -> Option<&Ident> {
    let is_scalar = |bounds: &Punctuated<TypeParamBound, Token![+]>| {
        bounds.iter().any(|bound| match bound {
            TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|segment| segment.ident == "Scalar"),
            _ => false,
        })
    };
    let bounded_below = |ident: &Ident| {
        let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
        predicates.into_iter().any(|predicate| match predicate {
            WherePredicate::Type(predicate) => match &predicate.bounded_ty {
                Type::Path(ty) => ty.path.is_ident(ident) && is_scalar(&predicate.bounds),
                _ => false,
            },
            _ => false,
        })
    };
    let mut scalars = generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) if is_scalar(&parameter.bounds) || bounded_below(&parameter.ident) => Some(&parameter.ident),
        _ => None,
    });
    let first = scalars.next()?;
    scalars.next().is_none().then_some(first)
}

/// The element type of the first `Tensor<…>` written in a type, looking into the arguments of `Option`, `Vec` and the
/// like, into arrays and tuples.
fn tensor_elem(ty: &Type) -> Option<TokenStream> {
    match ty {
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let arguments: Vec<&Type> = match &last.arguments {
                PathArguments::AngleBracketed(arguments) => {
                    let types = arguments.args.iter().filter_map(|argument| match argument {
                        GenericArgument::Type(ty) => Some(ty),
                        _ => None,
                    });
                    types.collect()
                }
                _ => Vec::new(),
            };
            match (last.ident == "Tensor", arguments.as_slice()) {
                (true, [elem]) => Some(elem.into_token_stream()),
                (true, _) => Some(elem_of(ty)),
                (false, arguments) => arguments.iter().copied().find_map(tensor_elem),
            }
        }
        Type::Array(array) => tensor_elem(&array.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(tensor_elem),
        Type::Paren(inner) => tensor_elem(&inner.elem),
        Type::Group(inner) => tensor_elem(&inner.elem),
        _ => None,
    }
}

/// The first type of the language that is no tensor, alone or where an element of a container or of a tensor stands.
fn plain_type(ty: &Type) -> Option<&Ident> {
    const PLAIN: [&str; 17] =
        ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64", "bool", "char", "String"];
    let is = |ident: &Ident, names: &[&str]| names.iter().any(|name| ident == name);
    match ty {
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            if is(&last.ident, &PLAIN) {
                return Some(&last.ident);
            }
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
            let inner = arguments.args.iter().filter_map(|argument| match argument {
                GenericArgument::Type(ty) => plain_type(ty),
                _ => None,
            });
            match last.ident.to_string().as_str() {
                "Option" | "Box" | "Vec" => inner.last(),
                "Tensor" => inner.last().filter(|ident| !is(ident, &["f32", "f64"])),
                _ => None,
            }
        }
        Type::Array(array) => plain_type(&array.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(plain_type),
        Type::Paren(inner) => plain_type(&inner.elem),
        Type::Group(inner) => plain_type(&inner.elem),
        _ => None,
    }
}

fn read_fields(input: &DeriveInput) -> syn::Result<Vec<Field<'_>>> {
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            return Err(Error::new(data.enum_token.span, "Params can be derived for structs, not for enums"));
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "Params can be derived for structs, not for unions"));
        }
    };
    let mut fields = Vec::new();
    let mut errors: Option<Error> = None;
    for (position, field) in data.fields.iter().enumerate() {
        match read_field(position, field, &fields) {
            Ok(field) => fields.push(field),
            Err(error) => match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            },
        }
    }
    if let Some(errors) = errors {
        return Err(errors);
    }
    if fields.iter().all(|field| matches!(field.role, Role::Skip)) {
        let why = match &data.fields {
            Fields::Unit => "it is a unit struct",
            _ if fields.is_empty() => "it has no field",
            _ => "every field is skipped",
        };
        return Err(Error::new(input.ident.span(), format!("Params needs at least one field that holds tensors, but {why}")));
    }
    Ok(fields)
}

fn read_field<'a>(position: usize, field: &'a syn::Field, before: &[Field<'_>]) -> syn::Result<Field<'a>> {
    let member = match &field.ident {
        Some(ident) => Member::Named(ident.clone()),
        None => Member::Unnamed(Index::from(position)),
    };
    let attributes = FieldAttributes::read(&field.attrs)?;
    let own_name = || match &field.ident {
        Some(ident) => ident.unraw().to_string(),
        None => position.to_string(),
    };
    let name = attributes.rename.as_ref().map_or_else(own_name, LitStr::value);
    let role = match (attributes.skip, attributes.flatten, attributes.buffer) {
        (true, ..) => Role::Skip,
        (_, true, _) => Role::Flatten,
        (_, _, true) => Role::Buffer(name),
        _ => Role::Child(name),
    };
    if !matches!(role, Role::Skip)
        && let Some(plain) = plain_type(&field.ty)
    {
        let why = format!("`{plain}` holds no tensors of `f32` or `f64`: mark the field `#[params(skip)]` if it is a setting");
        return Err(Error::new(field.ty.span(), why));
    }
    if let Some(name) = role.name()
        && before.iter().any(|field| field.role.name() == Some(name))
    {
        let span = attributes.rename.as_ref().map_or(member.span(), LitStr::span);
        return Err(Error::new(span, format!("two fields are named {name:?}")));
    }
    Ok(Field { member, ty: &field.ty, role })
}

impl Role {
    fn name(&self) -> Option<&str> {
        match self {
            Role::Child(name) | Role::Buffer(name) => Some(name),
            Role::Flatten | Role::Skip => None,
        }
    }
}

#[derive(Default)]
struct FieldAttributes {
    skip: bool,
    buffer: bool,
    flatten: bool,
    rename: Option<LitStr>,
}

impl FieldAttributes {
    fn read(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut read = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("params")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    read.skip = true;
                } else if meta.path.is_ident("buffer") {
                    read.buffer = true;
                } else if meta.path.is_ident("flatten") {
                    read.flatten = true;
                } else if meta.path.is_ident("rename") {
                    let name: LitStr = meta.value()?.parse()?;
                    if name.value().is_empty() {
                        return Err(Error::new(name.span(), "the name of a field must not be empty"));
                    }
                    read.rename = Some(name);
                } else {
                    return Err(meta.error("unknown attribute of a field: expected `skip`, `buffer`, `flatten` or `rename = \"name\"`"));
                }
                if read.contradicts() {
                    return Err(meta.error("`skip` and `flatten` exclude every other attribute: the field has no name of its own"));
                }
                Ok(())
            })?;
        }
        Ok(read)
    }

    fn contradicts(&self) -> bool {
        let named = self.buffer || self.rename.is_some();
        u8::from(self.skip) + u8::from(self.flatten) + u8::from(named) > 1
    }
}

/// `#[params(elem = …)]` of the struct.
fn read_elem(attributes: &[Attribute]) -> syn::Result<Option<Type>> {
    let mut elem = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("params")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("elem") {
                return Err(meta.error("unknown attribute of a struct: expected `elem = type`"));
            }
            elem = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(elem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    /// The parts of the expansion that depend on the struct, without spaces.
    struct Expansion {
        header: String,
        elem: String,
        visits: String,
        visits_mut: String,
    }

    fn expanded(input: DeriveInput) -> Expansion {
        let text: String = expand(&input).unwrap().to_string().split_whitespace().collect();
        let text = text.replace("::gradus_autodiff::", "");
        let between = |from: &str, to: &str| {
            let (_, rest) = text.split_once(from).unwrap();
            rest.split_once(to).unwrap().0.to_owned()
        };
        Expansion {
            header: between("#[automatically_derived]impl", "{typeElem="),
            elem: between("{typeElem=", ";fnfor_each"),
            visits: between("&'paramsTensor<Self::Elem>,),){", "}fnfor_each_mut"),
            visits_mut: between("&'paramsmutTensor<Self::Elem>,),){", "}}"),
        }
    }

    fn message(input: DeriveInput) -> String {
        expand(&input).unwrap_err().into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn named_fields_with_generics() {
        let expansion = expanded(parse_quote! {
            struct Linear<T: Scalar = f32> { weight: Tensor<T>, bias: Option<Tensor<T>> }
        });
        assert_eq!(expansion.header, "<T:Scalar>ParamsforLinear<T>whereTensor<T>:Params<Elem=T>,Option<Tensor<T>>:Params<Elem=T>");
        assert_eq!(expansion.elem, "T");
        assert_eq!(
            expansion.visits,
            "path.child(\"weight\",|path|Params::for_each(&self.weight,path,f));\
             path.child(\"bias\",|path|Params::for_each(&self.bias,path,f));"
        );
        assert_eq!(
            expansion.visits_mut,
            "path.child(\"weight\",|path|Params::for_each_mut(&mutself.weight,path,f));\
             path.child(\"bias\",|path|Params::for_each_mut(&mutself.bias,path,f));"
        );
    }

    #[test]
    fn every_attribute() {
        let expansion = expanded(parse_quote! {
            struct Norm {
                #[params(skip)] epsilon: f64,
                #[params(flatten)] affine: Affine,
                #[params(buffer)] running_mean: Tensor<f64>,
                #[params(buffer, rename = "running_var")] variance: Tensor<f64>,
                r#type: Tensor<f64>,
            }
        });
        assert_eq!(expansion.header, "ParamsforNorm");
        assert_eq!(expansion.elem, "f64");
        assert_eq!(
            expansion.visits,
            "Params::for_each(&self.affine,path,f);\
             path.buffer(\"running_mean\",|path|Params::for_each(&self.running_mean,path,f));\
             path.buffer(\"running_var\",|path|Params::for_each(&self.variance,path,f));\
             path.child(\"type\",|path|Params::for_each(&self.r#type,path,f));"
        );
        let visits = |text: &str| text.replace("for_each_mut(&mut", "for_each(&");
        assert_eq!(visits(&expansion.visits_mut), expansion.visits);
    }

    #[test]
    fn tuple_structs_name_their_fields_by_position() {
        let expansion = expanded(parse_quote!(
            struct Chain<A, F, B>(A, #[params(skip)] F, B)
            where
                F: Fn(f32) -> f32;
        ));
        assert_eq!(
            expansion.header,
            "<A,F,B>ParamsforChain<A,F,B>whereF:Fn(f32)->f32,A:Params,F:::core::clone::Clone,\
             B:Params<Elem=<AasParams>::Elem>"
        );
        assert_eq!(expansion.elem, "<AasParams>::Elem");
        assert_eq!(
            expansion.visits,
            "path.child(\"0\",|path|Params::for_each(&self.0,path,f));\
             path.child(\"2\",|path|Params::for_each(&self.2,path,f));"
        );
        assert!(!expansion.visits_mut.contains("self.1"));
    }

    #[test]
    fn the_element_type_is_found_in_order_of_certainty() {
        let elem = |input| expanded(input).elem;
        assert_eq!(
            elem(parse_quote!(
                #[params(elem = f64)]
                struct S {
                    a: Tensor,
                }
            )),
            "f64"
        );
        assert_eq!(
            elem(parse_quote!(
                struct S<T>
                where
                    T: core::Scalar,
                {
                    a: Layer<T>,
                }
            )),
            "T"
        );
        assert_eq!(
            elem(parse_quote!(
                struct S {
                    a: Vec<Layer>,
                    b: [(Layer, Option<Tensor<f64>>); 2],
                }
            )),
            "f64"
        );
        assert_eq!(
            elem(parse_quote!(
                struct S {
                    a: Layer,
                    b: Tensor,
                }
            )),
            "<TensorasParams>::Elem"
        );
        assert_eq!(
            elem(parse_quote!(
                struct S {
                    #[params(skip)]
                    n: Tensor<f64>,
                    a: Vec<Layer>,
                }
            )),
            "<Vec<Layer>asParams>::Elem"
        );
        // Two scalar parameters: only the fields can tell.
        assert_eq!(
            elem(parse_quote!(
                struct S<T: Scalar, U: Scalar> {
                    a: Tensor<U>,
                    #[params(skip)]
                    b: T,
                }
            )),
            "U"
        );
    }

    #[test]
    fn a_recursive_field_gets_no_bound() {
        let expansion = expanded(parse_quote!(
            struct Tree<T: Scalar> {
                weight: Tensor<T>,
                children: Vec<Tree<T>>,
            }
        ));
        assert_eq!(expansion.header, "<T:Scalar>ParamsforTree<T>whereTensor<T>:Params<Elem=T>");
    }

    #[test]
    fn what_cannot_be_derived_says_why() {
        let cases: [(DeriveInput, &str); 17] = [
            (
                parse_quote!(
                    struct S {
                        weight: Tensor,
                        layers: usize,
                    }
                ),
                "`usize` holds no tensors",
            ),
            (
                parse_quote!(
                    struct S(Vec<Option<[i32; 3]>>);
                ),
                "`i32` holds no tensors",
            ),
            (
                parse_quote!(
                    struct S(Tensor<i64>);
                ),
                "`i64` holds no tensors of `f32` or `f64`",
            ),
            (
                parse_quote!(
                    struct S((Tensor, f64));
                ),
                "`f64` holds no tensors",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params(buffer)]
                        steps: core::primitive::u64,
                    }
                ),
                "mark the field `#[params(skip)]`",
            ),
            (
                parse_quote!(
                    enum E {
                        A(Tensor),
                    }
                ),
                "for structs, not for enums",
            ),
            (parse_quote!(union U { a: u8 }), "for structs, not for unions"),
            (
                parse_quote!(
                    struct S;
                ),
                "it is a unit struct",
            ),
            (
                parse_quote!(
                    struct S {}
                ),
                "it has no field",
            ),
            (
                parse_quote!(
                    struct S(#[params(skip)] u8);
                ),
                "every field is skipped",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params(frozen)]
                        a: Tensor,
                    }
                ),
                "unknown attribute of a field",
            ),
            (
                parse_quote!(
                    #[params(skip)]
                    struct S {
                        a: Tensor,
                    }
                ),
                "unknown attribute of a struct",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params(skip, flatten)]
                        a: Tensor,
                    }
                ),
                "exclude every other attribute",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params(flatten, rename = "b")]
                        a: Tensor,
                    }
                ),
                "exclude every other",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params(rename = "")]
                        a: Tensor,
                    }
                ),
                "must not be empty",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params(rename = "b")]
                        a: Tensor,
                        b: Tensor,
                    }
                ),
                "two fields are named \"b\"",
            ),
            (
                parse_quote!(
                    struct S {
                        #[params]
                        a: Tensor,
                    }
                ),
                "expected attribute arguments",
            ),
        ];
        for (input, expected) in cases {
            let found = message(input);
            assert!(found.contains(expected), "{found:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn all_bad_fields_are_reported_at_once() {
        let found = message(parse_quote!(
            struct S {
                #[params(one)]
                a: Tensor,
                #[params(two)]
                b: Tensor,
            }
        ));
        assert_eq!(found.matches("unknown attribute of a field").count(), 2);
    }
}
