#pragma once
// The bytes of commands, stored answers and snapshots: varints (LEB128), fixed little-endian words
// and length-prefixed strings. A hand-written codec because a Put is encoded and decoded once per
// write and member: decoding borrows from the input instead of allocating (docs/formats/commands.md
// has the grammar).
//
// A Decoder never reads outside its input. It is sticky: after the first failure every read returns
// zero or empty and ok() stays false, so that callers check once at the end.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "base/check.h"

namespace conclave::store {

static_assert(std::endian::native == std::endian::little, "words are copied as they are");

// What an encoder writes to, where the bytes are few and known to be: no more than `n`, in place.
template <std::size_t n>
class ShortBytes {
 public:
  void push_back(char byte) {
    CHECK(size_ < n);
    bytes_[size_++] = byte;
  }
  void append(const char* from, std::size_t size) {
    CHECK(size <= n - size_);
    std::copy_n(from, size, bytes_.data() + size_);
    size_ += size;
  }
  BytesView view() const { return {bytes_.data(), size_}; }

 private:
  std::array<char, n> bytes_;
  std::size_t size_ = 0;
};

template <class Out>
class EncoderTo {
 public:
  explicit EncoderTo(Out& out) : out_(out) {}

  void u8(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }

  void fixed64(std::uint64_t value) {
    std::array<char, sizeof(value)> word;
    std::memcpy(word.data(), &value, sizeof(value));
    out_.append(word.data(), word.size());
  }

  void varint(std::uint64_t value) {
    if (value < 0x80) return out_.push_back(static_cast<char>(value));
    std::array<char, 10> bytes;
    std::size_t size = 0;
    while (value >= 0x80) {
      bytes[size++] = static_cast<char>((value & 0x7f) | 0x80);
      value >>= 7;
    }
    bytes[size++] = static_cast<char>(value);
    out_.append(bytes.data(), size);
  }

  // Signed numbers are revisions, counts and leases: rarely negative, so not zigzag.
  void number(std::int64_t value) { varint(static_cast<std::uint64_t>(value)); }

  void bytes(BytesView value) {
    varint(value.size());
    out_.append(value.data(), value.size());
  }

 private:
  Out& out_;
};
using Encoder = EncoderTo<Bytes>;

class Decoder {
 public:
  explicit Decoder(BytesView in) : in_(in) {}

  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }
  std::size_t remaining() const { return in_.size(); }
  // Everything was read, and nothing failed.
  bool finished() const { return ok_ && in_.empty(); }
  void fail() {
    ok_ = false;
    in_ = {};
  }

  std::uint8_t u8() {
    if (in_.empty()) return fail(), std::uint8_t{0};
    const auto value = static_cast<std::uint8_t>(in_.front());
    in_.remove_prefix(1);
    return value;
  }

  std::uint64_t fixed64() {
    std::uint64_t value = 0;
    if (in_.size() < sizeof(value)) return fail(), std::uint64_t{0};
    std::memcpy(&value, in_.data(), sizeof(value));
    in_.remove_prefix(sizeof(value));
    return value;
  }

  std::uint64_t varint() {
    if (in_.empty() || static_cast<std::uint8_t>(in_.front()) >= 0x80) return long_varint();
    const auto value = static_cast<std::uint8_t>(in_.front());
    in_.remove_prefix(1);
    return value;
  }

  std::int64_t number() { return static_cast<std::int64_t>(varint()); }

  // Borrows from the input.
  BytesView bytes() {
    const std::uint64_t size = varint();
    if (size > in_.size()) return fail(), BytesView{};
    const BytesView value = in_.substr(0, size);
    in_.remove_prefix(size);
    return value;
  }

  // A count of things that take at least one byte each: a larger one cannot be true.
  std::size_t count() {
    const std::uint64_t value = varint();
    if (value > in_.size()) return fail(), std::size_t{0};
    return value;
  }

  std::uint32_t u32() {
    const std::uint64_t value = varint();
    if (value > UINT32_MAX) return fail(), std::uint32_t{0};
    return static_cast<std::uint32_t>(value);
  }

  // One of the enumerators 0..last.
  template <class Enum>
  Enum enumerator(Enum last) {
    const std::uint8_t value = u8();
    if (value > static_cast<std::uint8_t>(last)) fail();
    return ok_ ? static_cast<Enum>(value) : Enum{};
  }

  // A set of bits, none of them outside `known`.
  std::uint8_t flags(std::uint8_t known) {
    const std::uint8_t value = u8();
    if ((value & ~known) != 0) fail();
    return ok_ ? value : std::uint8_t{0};
  }

 private:
  std::uint64_t long_varint() {
    std::uint64_t value = 0;
    unsigned shift = 0;
    for (const char& each : in_) {
      const auto byte = static_cast<std::uint8_t>(each);
      if (shift == 63 && byte > 1) break;  // more than 64 bits
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      shift += 7;
      if (byte >= 0x80) continue;
      in_.remove_prefix(static_cast<std::size_t>(&each - in_.data()) + 1);
      return value;
    }
    fail();
    return 0;
  }

  BytesView in_;
  bool ok_ = true;
};

}  // namespace conclave::store
