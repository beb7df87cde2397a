#pragma once
// Jute, the encoding of ZooKeeper's messages: numbers are big-endian and of fixed size; a buffer or
// a string is its length in four bytes and its bytes, a vector its count and its elements; -1 for
// either is a null.

#include <cstdint>

#include "base/bytes.h"

namespace conclave::zookeeper {

// Reads one message. What cannot be read is 0 or empty, and from then on everything is: a caller
// looks at ok() once, at the end. The bytes outlive the reader and what it returns.
class Reader {
 public:
  explicit Reader(BytesView bytes) : rest_(bytes) {}

  std::int32_t int32();
  std::int64_t int64();
  bool boolean();
  // A null is empty.
  BytesView buffer();
  // The same; a null cannot be read.
  BytesView string();
  // The number of elements that follow, each of at least `least_bytes`; of a null, 0. More than
  // there are bytes for cannot be read.
  std::size_t count(std::size_t least_bytes);

  bool ok() const { return ok_; }
  std::size_t left() const { return rest_.size(); }

 private:
  BytesView take(std::size_t bytes);

  BytesView rest_;
  bool ok_ = true;
};

// Appends to `out`, which outlives it.
class Writer {
 public:
  explicit Writer(Bytes& out) : out_(out) {}

  void int32(std::int32_t value);
  void int64(std::int64_t value);
  void boolean(bool value);
  // Also a string. REQUIRES: shorter than 2 GiB.
  void buffer(BytesView bytes);
  void null();
  // REQUIRES: fewer than 2^31.
  void count(std::size_t elements);

 private:
  Bytes& out_;
};

}  // namespace conclave::zookeeper
