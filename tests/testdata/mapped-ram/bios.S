/*
 * A BIOS of 64 KiB, of which a guest has nothing else: it fills 64 pages from 64 KiB on with
 * data, then with zeros, and so on. A migration that meets it several times leaves data in a
 * mapped-ram file where pages are zero by then.
 */
        .code16
_start:
        cli
        cld
        xorw    %bx, %bx                /* the round */
round:
        incw    %bx
        movw    $0x1000, %dx            /* the page's segment */
page:
        movw    %dx, %es
        xorw    %di, %di
        movw    $2048, %cx
        movw    %dx, %ax                /* odd rounds: words that tell page and round */
        xorw    %bx, %ax
        testw   $1, %bx
        jnz     fill
        xorw    %ax, %ax                /* even rounds: zeros */
fill:
        rep     stosw
        movw    $0x2000, %cx
wait:
        loop    wait
        addw    $0x100, %dx
        cmpw    $0x5000, %dx
        jne     page
        jmp     round

        .org    0xfff0
        ljmp    $0xf000, $_start
        .org    0x10000
