;; Grows three tables without end: memory of the host that is in no linear memory. Traps
;; where growth is refused.
(component
  (core module $m
    (table $a 1 funcref)
    (table $b 1 funcref)
    (table $c 1 externref)
    (func (export "run") (result i32)
      (loop $more
        (if (i32.eq (table.grow $a (ref.null func) (i32.const 100000)) (i32.const -1))
          (then (unreachable)))
        (if (i32.eq (table.grow $b (ref.null func) (i32.const 100000)) (i32.const -1))
          (then (unreachable)))
        (if (i32.eq (table.grow $c (ref.null extern) (i32.const 100000)) (i32.const -1))
          (then (unreachable)))
        (br $more))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $run-instance)))
