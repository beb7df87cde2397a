#include "frontends/zookeeper/jute.h"

#include <bit>
#include <cstring>

#include "base/check.h"

namespace conclave::zookeeper {
namespace {

constexpr std::int32_t kNull = -1;

static_assert(std::endian::native == std::endian::little);

// Of no bytes, 0.
template <class Unsigned>
Unsigned from_big_endian(BytesView bytes) {
  Unsigned value = 0;
  if (bytes.size() != sizeof(value)) return value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return std::byteswap(value);
}

template <class Unsigned>
void append_big_endian(Unsigned value, Bytes& out) {
  value = std::byteswap(value);
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  out.append(bytes, sizeof(value));
}

}  // namespace

BytesView Reader::take(std::size_t bytes) {
  if (!ok_ || rest_.size() < bytes) {
    ok_ = false;
    rest_ = {};
    return {};
  }
  const BytesView taken = rest_.substr(0, bytes);
  rest_.remove_prefix(bytes);
  return taken;
}

std::int32_t Reader::int32() {
  return static_cast<std::int32_t>(from_big_endian<std::uint32_t>(take(4)));
}

std::int64_t Reader::int64() {
  return static_cast<std::int64_t>(from_big_endian<std::uint64_t>(take(8)));
}

bool Reader::boolean() {
  const BytesView byte = take(1);
  return !byte.empty() && byte[0] != 0;
}

BytesView Reader::buffer() {
  const std::int32_t length = int32();
  if (length == kNull) return {};
  if (length < 0) ok_ = false;
  return take(static_cast<std::size_t>(length));
}

BytesView Reader::string() {
  const std::int32_t length = int32();
  if (length < 0) ok_ = false;
  return take(static_cast<std::size_t>(length));
}

std::size_t Reader::count(std::size_t least_bytes) {
  const std::int32_t elements = int32();
  if (elements == kNull) return 0;
  if (elements < 0 || static_cast<std::size_t>(elements) > rest_.size() / least_bytes) {
    ok_ = false;
    return 0;
  }
  return static_cast<std::size_t>(elements);
}

void Writer::int32(std::int32_t value) {
  append_big_endian(static_cast<std::uint32_t>(value), out_);
}

void Writer::int64(std::int64_t value) {
  append_big_endian(static_cast<std::uint64_t>(value), out_);
}

void Writer::boolean(bool value) { out_.push_back(value ? '\1' : '\0'); }

void Writer::buffer(BytesView bytes) {
  count(bytes.size());
  out_.append(bytes);
}

void Writer::null() { int32(kNull); }

void Writer::count(std::size_t elements) {
  CHECK(elements <= 0x7fff'ffff, "{} elements or bytes", elements);
  int32(static_cast<std::int32_t>(elements));
}

}  // namespace conclave::zookeeper
