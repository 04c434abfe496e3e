;; A core module that cannot be adapted: it imports from `env`.
(module
  (import "env" "print" (func $print (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $print (i32.const 1))))
