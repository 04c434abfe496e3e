;; Calls an asynchronous function of its own nested component without end. Each call
;; gives the thread back and waits for a timer that never ends: a guest task each.
(component
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
    (export "wait-for" (func async (param "how-long" u64)))))
  (alias export $clock "wait-for" (func $wait))
  (component $sleeper
    (import "wait" (func $wait async (param "how-long" u64)))
    (core func $wait' (canon lower (func $wait) async))
    (core func $set (canon waitable-set.new))
    (core func $join (canon waitable.join))
    (core module $m
      (import "" "wait" (func $wait (param i64) (result i32)))
      (import "" "set" (func $set (result i32)))
      (import "" "join" (func $join (param i32 i32)))
      (func (export "sleep") (result i32)
        (local $set i32)
        (local.set $set (call $set))
        (call $join
          (i32.shr_u (call $wait (i64.const 1000000000000000)) (i32.const 4))
          (local.get $set))
        ;; 2: wait for the set.
        (i32.or (i32.shl (local.get $set) (i32.const 4)) (i32.const 2)))
      (func (export "back") (param i32 i32 i32) (result i32) (unreachable)))
    (core instance $i (instantiate $m (with "" (instance
      (export "wait" (func $wait')) (export "set" (func $set)) (export "join" (func $join))))))
    (func (export "sleep") async
      (canon lift (core func $i "sleep") async (callback (core func $i "back")))))
  (instance $s (instantiate $sleeper (with "wait" (func $wait))))
  ;; A component may not call its own children: the caller is a child of its own.
  (component $caller
    (import "sleep" (func $sleep async))
    (core func $sleep' (canon lower (func $sleep) async))
    (core module $m
      (import "" "sleep" (func $sleep (result i32)))
      (func (export "run") (result i32)
        (loop $more
          (drop (call $sleep))
          (br $more))
        (unreachable))
      (func (export "back") (param i32 i32 i32) (result i32) (i32.const 0)))
    (core instance $i (instantiate $m (with "" (instance (export "sleep" (func $sleep'))))))
    (func (export "run") async (result (result))
      (canon lift (core func $i "run") async (callback (core func $i "back")))))
  (instance $run (instantiate $caller (with "sleep" (func $s "sleep"))))
  (export "wasi:cli/run@0.3.0" (instance $run)))
