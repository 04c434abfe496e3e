//! Writes one file that never ends into its scratch directory. With `--sparse` it only
//! says that the file is huge, and with `--many` it makes empty files without end.

use std::fs::File;
use std::io::Write;

fn main() -> std::io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--sparse") => {
            let file = File::create("/scratch/sparse")?;
            file.set_len(1 << 40)?;
            println!("the file says that it has {} bytes", file.metadata()?.len());
            Ok(())
        }
        Some("--many") => {
            for number in 0_u64.. {
                File::create(format!("/scratch/{number}"))?;
            }
            Ok(())
        }
        _ => {
            let mut file = File::create("/scratch/huge")?;
            let block = vec![7_u8; 1 << 20];
            for written in 1_u64.. {
                file.write_all(&block)?;
                if written.is_multiple_of(16) {
                    println!("{written} MiB");
                }
            }
            Ok(())
        }
    }
}
