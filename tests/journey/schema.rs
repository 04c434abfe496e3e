//! What `wrun schema output` documents, held against what commands print. A validator for
//! the part of JSON Schema that the document uses, and one thing more: a field that the
//! document does not name is an error.

use serde_json::Value;

use crate::Desk;

/// The documented shapes, by the name that the schema gives each.
pub struct Schema(Value);

impl Schema {
    pub fn of(desk: &Desk) -> Self {
        Self(serde_json::from_str(&desk.says(&["schema", "output"])).unwrap())
    }

    /// Fails unless `printed` is of the shape `name`, with no field beyond it.
    pub fn check(&self, name: &str, printed: &Value) {
        let variants = self.0["oneOf"].as_array().unwrap();
        let variant = variants.iter().find(|variant| variant["required"][0] == name);
        let shape = &variant.unwrap_or_else(|| panic!("no `{name}`"))["properties"][name];
        if let Err(problem) = self.fits(shape, printed) {
            panic!("{name}: {problem}\nprinted: {printed:#}");
        }
        let mut known = Vec::new();
        self.fields(shape, &mut known);
        for field in printed.as_object().unwrap().keys() {
            assert!(known.contains(field), "{name}: `{field}` is not documented: {known:?}");
        }
    }

    fn follow<'a>(&'a self, shape: &'a Value) -> Option<&'a Value> {
        let name = shape["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        Some(&self.0["$defs"][name])
    }

    fn fields(&self, shape: &Value, known: &mut Vec<String>) {
        if let Some(properties) = shape["properties"].as_object() {
            known.extend(properties.keys().cloned());
        }
        if let Some(named) = self.follow(shape) {
            self.fields(named, known);
        }
        for parts in ["oneOf", "anyOf", "allOf"] {
            for part in shape[parts].as_array().into_iter().flatten() {
                self.fields(part, known);
            }
        }
    }

    fn fits(&self, shape: &Value, value: &Value) -> Result<(), String> {
        if let Some(named) = self.follow(shape) {
            self.fits(named, value)?;
        }
        let types = match &shape["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|name| is_of(name, value)) {
            return Err(format!("{value} is none of {types:?}"));
        }
        if !shape["const"].is_null() && shape["const"] != *value {
            return Err(format!("{value} is not {}", shape["const"]));
        }
        for field in shape["required"].as_array().into_iter().flatten() {
            if value.get(field.as_str().unwrap()).is_none() {
                return Err(format!("{field} is missing"));
            }
        }
        for (field, shape) in shape["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(field) {
                self.fits(shape, value).map_err(|problem| format!("`{field}`: {problem}"))?;
            }
        }
        for item in value.as_array().into_iter().flatten() {
            if !shape["items"].is_null() {
                self.fits(&shape["items"], item)?;
            }
        }
        for parts in ["oneOf", "anyOf"] {
            let Some(parts) = shape[parts].as_array() else { continue };
            let tried: Vec<_> = parts.iter().map(|part| self.fits(part, value)).collect();
            if tried.iter().all(Result::is_err) {
                return Err(format!("none of the shapes: {tried:?}"));
            }
        }
        Ok(())
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the schema has a type `{other}` that this validator does not know"),
    }
}
