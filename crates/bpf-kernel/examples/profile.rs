//! Prints the feature profile of the running kernel.

fn main() -> Result<(), bpf_kernel::Error> {
    print!("{}", bpf_kernel::profile::probe()?);
    Ok(())
}
