//! The programs of the guide (`docs/guide`), which are compiled and run as documentation tests.
//! `tests/architecture` expects every chapter here.

macro_rules! chapters {
    ($($name:ident)*) => {
        $(
            #[doc = include_str!(concat!("../docs/guide/src/", stringify!($name), ".md"))]
            mod $name {}
        )*
    };
}

chapters! {
    start entities testing consumers evolution drivers operating guarantees performance
    from_keyvalue from_cqrs_es from_pekko
}
