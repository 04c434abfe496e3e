;; Nested components that unfold into 2^30 core instances.
(component
  (component $c30
  (component $c29
  (component $c28
  (component $c27
  (component $c26
  (component $c25
  (component $c24
  (component $c23
  (component $c22
  (component $c21
  (component $c20
  (component $c19
  (component $c18
  (component $c17
  (component $c16
  (component $c15
  (component $c14
  (component $c13
  (component $c12
  (component $c11
  (component $c10
  (component $c9
  (component $c8
  (component $c7
  (component $c6
  (component $c5
  (component $c4
  (component $c3
  (component $c2
  (component $c1
  (component $c0 (core module $m) (core instance (instantiate $m)))
    (instance (instantiate $c0)) (instance (instantiate $c0)))
    (instance (instantiate $c1)) (instance (instantiate $c1)))
    (instance (instantiate $c2)) (instance (instantiate $c2)))
    (instance (instantiate $c3)) (instance (instantiate $c3)))
    (instance (instantiate $c4)) (instance (instantiate $c4)))
    (instance (instantiate $c5)) (instance (instantiate $c5)))
    (instance (instantiate $c6)) (instance (instantiate $c6)))
    (instance (instantiate $c7)) (instance (instantiate $c7)))
    (instance (instantiate $c8)) (instance (instantiate $c8)))
    (instance (instantiate $c9)) (instance (instantiate $c9)))
    (instance (instantiate $c10)) (instance (instantiate $c10)))
    (instance (instantiate $c11)) (instance (instantiate $c11)))
    (instance (instantiate $c12)) (instance (instantiate $c12)))
    (instance (instantiate $c13)) (instance (instantiate $c13)))
    (instance (instantiate $c14)) (instance (instantiate $c14)))
    (instance (instantiate $c15)) (instance (instantiate $c15)))
    (instance (instantiate $c16)) (instance (instantiate $c16)))
    (instance (instantiate $c17)) (instance (instantiate $c17)))
    (instance (instantiate $c18)) (instance (instantiate $c18)))
    (instance (instantiate $c19)) (instance (instantiate $c19)))
    (instance (instantiate $c20)) (instance (instantiate $c20)))
    (instance (instantiate $c21)) (instance (instantiate $c21)))
    (instance (instantiate $c22)) (instance (instantiate $c22)))
    (instance (instantiate $c23)) (instance (instantiate $c23)))
    (instance (instantiate $c24)) (instance (instantiate $c24)))
    (instance (instantiate $c25)) (instance (instantiate $c25)))
    (instance (instantiate $c26)) (instance (instantiate $c26)))
    (instance (instantiate $c27)) (instance (instantiate $c27)))
    (instance (instantiate $c28)) (instance (instantiate $c28)))
    (instance (instantiate $c29)) (instance (instantiate $c29)))
  (instance (instantiate $c30))
  (core module $m (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $run-instance)))
