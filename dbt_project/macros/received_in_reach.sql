{# The condition that selects the receipts of the window, and those shortly before it, among
   which earlier receipts of the same events may be. The bounds are literals, because engines use
   zone maps and indexes only for literals. If the table is partitioned by day, the day is
   compared as well, because Spark does not derive it from received_at. #}
{% macro received_in_reach() -%}
    received_at >= {{ dedupe_start() }}
        and received_at < {{ window_end() }}
    {%- if var('received_on_column', none) %}
        {%- set window = export_window() %}
        {%- set last_moment = window.end - modules.datetime.timedelta(microseconds=1) %}
        and received_on >= date '{{ (window.start - dedupe_lookback()).date() }}'
        and received_on <= date '{{ last_moment.date() }}'
    {%- endif -%}
{%- endmacro %}
