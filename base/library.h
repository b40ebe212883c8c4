// A library that is loaded when it is first wanted, so that no build or program depends on it.
#pragma once

#include <dlfcn.h>

#include <span>
#include <string>

#include "base/status.h"

namespace sluice {

class Library {
 public:
  // The first of `names` that is there; kUnsupported where none is. It is never closed: others keep what came from it.
  static Result<Library> open(std::span<const char* const> names, const std::string& wanted, const std::string& product) {
    for (const char* name : names)
      if (void* found = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return Library(found);
    return Status(Code::kUnsupported, wanted + " could not be loaded",
                  "install " + product + ", or name its folder in LD_LIBRARY_PATH");
  }

  // Sets a pointer to the function `name`; complete() tells whether all were there.
  template <class F>
  Library& find(const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library_, name));
    complete_ = complete_ && function;
    return *this;
  }
  Status complete(const std::string& title) const {
    if (complete_) return {};
    return {Code::kUnsupported, title + " lacks functions: it is too old"};
  }

 private:
  explicit Library(void* library) : library_(library) {}
  void* library_;
  bool complete_ = true;
};

}  // namespace sluice
