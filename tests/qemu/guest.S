/*
 * A guest in one boot sector, which checks its own memory and says so on port 0xe9.
 *
 * Every 32-bit word of its memory from 1 MiB on is its address times its area's factor of this
 * round. A round checks all words against the last round's factors, writes the hot and the
 * flipping area with this round's, and prints "ok " and the round's number in hexadecimal. A
 * wrong word prints "BAD " and its address, and ends the guest's work for good.
 *
 *   cold   COLD_FACTOR              written once
 *   hot    the round's number       changes all the time
 *   flip   the round's lowest bit   pages with data, then pages of zeros, in turn
 */

#define DEBUG_PORT 0xe9
#define COLD_FACTOR 0x9e3779b1
#define COLD 0x100000
#define HOT 0xd00000
#define FLIP 0xf00000
#define END 0x1000000
#define STACK 0x7c00
#define ROUND 0x6000                    /* where the round's number lives */

        .code16
        .globl _start
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdtl   gdt_pointer
        inb     $0x92, %al              /* the A20 line, so that odd megabytes are not even ones */
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $flat

        .code32
flat:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $STACK, %esp

        movl    $0, ROUND
        movl    $COLD_FACTOR, %ebx
        movl    $COLD, %edi
        movl    $HOT, %ecx
        call    fill
        call    write_changing

round:
        movl    $COLD_FACTOR, %ebx
        movl    $COLD, %edi
        movl    $HOT, %ecx
        call    check
        movl    ROUND, %ebx
        movl    $FLIP, %ecx
        call    check
        andl    $1, %ebx
        movl    $END, %ecx
        call    check
        incl    ROUND
        call    write_changing
        movl    $ok, %esi
        movl    ROUND, %edx
        call    print
        jmp     round

/* Writes the hot and the flipping area for this round. */
write_changing:
        movl    ROUND, %ebx
        movl    $HOT, %edi
        movl    $FLIP, %ecx
        call    fill
        andl    $1, %ebx
        movl    $END, %ecx
        /* falls through */

/* Writes the words from %edi to %ecx with the factor %ebx. */
fill:
        movl    %edi, %eax
        imull   %ebx, %eax
        stosl
        cmpl    %ecx, %edi
        jb      fill
        ret

/* Checks the words from %edi to %ecx against the factor %ebx. */
check:
        movl    %edi, %eax
        imull   %ebx, %eax
        scasl
        jne     bad
        cmpl    %ecx, %edi
        jb      check
        ret

bad:
        leal    -4(%edi), %edx
        movl    $bad_text, %esi
        call    print
stop:   hlt
        jmp     stop

/* Prints the text at %esi and %edx in hexadecimal. */
print:
        lodsb
        testb   %al, %al
        jz      1f
        outb    %al, $DEBUG_PORT
        jmp     print
1:      movl    $8, %ecx
2:      roll    $4, %edx
        movb    %dl, %al
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     3f
        addb    $('a' - '9' - 1), %al
3:      outb    %al, $DEBUG_PORT
        loop    2b
        movb    $'\n', %al
        outb    %al, $DEBUG_PORT
        ret

ok:     .asciz  "ok "
bad_text: .asciz "BAD "

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      /* code, all of 4 GiB */
        .quad   0x00cf92000000ffff      /* data, the same */
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt

        .org    510
        .word   0xaa55
        .org    16 * 63 * 512 - 1       /* SeaBIOS boots no disk of less than a cylinder */
        .byte   0
