//! Types as C writes them, as far as one line goes.

use super::*;

impl Btf {
    /// Such as `struct sk_buff *` or `unsigned int[4]`. Not a whole declaration: a struct is shown
    /// by its name.
    pub fn describe(&self, id: TypeId) -> String {
        // Against types that hold each other.
        let mut budget = 256;
        self.describe_within(id, &mut budget)
    }

    fn describe_within(&self, id: TypeId, budget: &mut u32) -> String {
        if id == TypeId::VOID {
            return "void".to_owned();
        }
        let (Some(kind), Some(left)) = (self.kind(id), budget.checked_sub(1)) else {
            return "?".to_owned();
        };
        *budget = left;
        let name = self.name(id);
        let mut inner = |id: TypeId| self.describe_within(id, budget);
        let tagged = |tag: &str| match name {
            "" => format!("{tag} (anonymous)"),
            name => format!("{tag} {name}"),
        };
        match kind {
            Kind::Int(_) | Kind::Float { .. } | Kind::Typedef(_) => name.to_owned(),
            Kind::Pointer(target) => format!("{} *", inner(*target)),
            Kind::Array(array) => format!("{}[{}]", inner(array.element), array.count),
            Kind::Struct(_) | Kind::Forward { union: false } => tagged("struct"),
            Kind::Union(_) | Kind::Forward { union: true } => tagged("union"),
            Kind::Enum(_) | Kind::Enum64(_) => tagged("enum"),
            Kind::Volatile(target) => format!("volatile {}", inner(*target)),
            Kind::Const(target) => format!("const {}", inner(*target)),
            Kind::Restrict(target) => format!("{} restrict", inner(*target)),
            Kind::Function { prototype, .. } => match self.kind(*prototype) {
                Some(Kind::Prototype { returns, parameters }) => {
                    let list: Vec<String> = parameters.iter().map(|p| inner(p.kind)).collect();
                    format!("{} {name}({})", inner(*returns), list.join(", "))
                }
                _ => format!("{name}()"),
            },
            Kind::Prototype { returns, parameters } => {
                let list: Vec<String> = parameters.iter().map(|p| inner(p.kind)).collect();
                format!("{} ({})", inner(*returns), list.join(", "))
            }
            Kind::Variable { kind, .. } => format!("{} {name}", inner(*kind)),
            Kind::DataSection { .. } => format!("section {name}"),
            Kind::DeclarationTag { target, .. } => format!("{} tagged {name}", inner(*target)),
            Kind::TypeTag { target, .. } => format!("{} tagged {name}", inner(*target)),
        }
    }
}
