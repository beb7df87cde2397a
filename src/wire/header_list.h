#pragma once
// The fields of one message's header, kept in one buffer: thousands of requests a second reuse it
// without touching the heap.

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"

namespace conclave::wire {

struct HeaderField {
  BytesView name;  // lower case
  BytesView value;
};

class HeaderList {
 public:
  void add(BytesView name, BytesView value);
  void clear();

  std::size_t size() const { return entries_.size(); }
  // Views into the list: they end with the next add or clear.
  HeaderField operator[](std::size_t i) const;
  // The value of the first field of that name.
  std::optional<BytesView> find(BytesView name) const;
  // As HTTP/2 counts it (RFC 9113, 6.5.2): names and values, and 32 for each field.
  std::size_t size_bytes() const { return text_.size() + 32 * entries_.size(); }

 private:
  struct Entry {
    std::uint32_t begin;
    std::uint32_t name_bytes;
    std::uint32_t value_bytes;
  };
  Bytes text_;
  std::vector<Entry> entries_;
};

}  // namespace conclave::wire
