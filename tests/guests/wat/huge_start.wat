;; Begins with a gibibyte of memory and fills it by one instruction.
(component
  (core module $m
    (memory 16384)
    (func (export "run") (result i32)
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x3fffffff))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $run-instance)))
