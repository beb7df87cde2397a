#pragma once
// Objects named by small numbers, which are used again. References stay good while the object is
// there.

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace conclave::store {

template <class T>
class Slab {
 public:
  std::uint32_t add() {
    if (free_.empty()) {
      items_.emplace_back();
      return static_cast<std::uint32_t>(items_.size() - 1);
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    return index;
  }
  void remove(std::uint32_t index) {
    items_[index] = T{};
    free_.push_back(index);
  }
  T& operator[](std::uint32_t index) { return items_[index]; }
  const T& operator[](std::uint32_t index) const { return items_[index]; }
  // In use.
  std::size_t size() const { return items_.size() - free_.size(); }
  // All numbers are below.
  std::uint32_t end() const { return static_cast<std::uint32_t>(items_.size()); }

 private:
  std::deque<T> items_;
  std::vector<std::uint32_t> free_;
};

}  // namespace conclave::store
