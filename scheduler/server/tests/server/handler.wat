;; A handler that answers with no bytes, exported besides a program; imports the context.
(component
  (import "wrun:task/context@0.1.0" (instance $context
    (export "progress" (func (param "permille" u16) (param "message" string)))))
  (core module $m
    (memory (export "memory") 2)
    (table 3 funcref)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "run") (result i32) i32.const 0)
    (func (export "handle") (param i32 i32) (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run-instance))
  (type $error' (record (field "message" string) (field "retryable" bool)))
  (component $shape
    (import "error" (type $error (eq $error')))
    (import "handle" (func $handle (param "input" (list u8)) (result (result (list u8) (error $error)))))
    (export $named "error" (type $error))
    (export "handle" (func $handle)
      (func (param "input" (list u8)) (result (result (list u8) (error $named))))))
  (func $handle (param "input" (list u8)) (result (result (list u8) (error $error')))
    (canon lift (core func $i "handle") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance $handler (instantiate $shape
    (with "error" (type $error')) (with "handle" (func $handle))))
  (export "wrun:task/handler@0.1.0" (instance $handler)))
