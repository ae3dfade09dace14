package chaos

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// canStep tells whether stepClock works here.
const canStep = true

// stepClock sets the wall clock of one running process forward or back, as somebody who sets the clock of its machine does; its monotonic clock and
// everybody else's clocks stay. There is no namespace for the wall clock, and a Go program asks no library that could be replaced. So this does what
// a debugger would: the process asks the kernel's vDSO through a pointer, and the pointer is turned to some instructions that ask the same and
// add the offset. The program is the one that users run. The process must be a child of this one, which is what Linux asks of a debugger.
func stepClock(pid int, program string, offset time.Duration) error {
	file, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	var pointer, free uint64
	for _, s := range symbols {
		switch s.Name {
		case "runtime.vdsoClockgettimeSym":
			pointer = s.Value
		case "runtime.etext":
			free = (s.Value + 15) &^ 15 // behind the program's own code, up to the end of the page
		}
	}
	const page = 4096
	if file.Type != elf.ET_EXEC || pointer == 0 || free == 0 || page-free%page < stubSize {
		return errors.New("the program is not laid out as expected")
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	var word [8]byte
	if _, err := memory.ReadAt(word[:], int64(pointer)); err != nil {
		return err
	}
	kernel := binary.LittleEndian.Uint64(word[:])
	if kernel == free { // stepped before: only the offset changes
		binary.LittleEndian.PutUint64(word[:], uint64(int64(offset/time.Second)))
		_, err := memory.WriteAt(word[:], int64(free+stubOffset))
		return err
	}
	if _, err := memory.WriteAt(clockStub(kernel, offset), int64(free)); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(word[:], free)
	_, err = memory.WriteAt(word[:], int64(pointer))
	return err
}

// Where in the stub the offset stands, and how long it is.
const stubOffset, stubSize = 30, 42

// clockStub is clock_gettime(clock, *timespec) in machine code: it asks the kernel's own and adds to the seconds if the clock is CLOCK_REALTIME, 0.
func clockStub(kernel uint64, offset time.Duration) []byte {
	var b []byte
	b = append(b, 0x57, 0x56)             // push rdi, rsi
	b = append(b, 0x48, 0x83, 0xec, 0x08) // sub rsp, 8: the stack is aligned for the call
	b = append(b, 0x48, 0xb8)             // mov rax, kernel
	b = binary.LittleEndian.AppendUint64(b, kernel)
	b = append(b, 0xff, 0xd0)             // call rax
	b = append(b, 0x48, 0x83, 0xc4, 0x08) // add rsp, 8
	b = append(b, 0x5e, 0x5f)             // pop rsi, rdi
	b = append(b, 0x85, 0xff)             // test edi, edi
	b = append(b, 0x75, 0x0d)             // jne: another clock
	b = append(b, 0x48, 0xb9)             // mov rcx, offset
	b = binary.LittleEndian.AppendUint64(b, uint64(int64(offset/time.Second)))
	b = append(b, 0x48, 0x01, 0x0e) // add [rsi], rcx
	return append(b, 0xc3)          // ret
}
