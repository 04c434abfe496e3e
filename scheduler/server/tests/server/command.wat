;; The smallest program: exports wasi:cli/run and does nothing.
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "run") (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $run-instance)))
